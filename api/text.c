/* Text into a writer. */
#include "api/text.h"

#include "raftgroup/base/assert.h"

#include <stdarg.h>
#include <stdio.h>

void api_text(struct fl_writer *w, const char *format, ...)
{
    char piece[512];
    va_list args;
    int len;

    va_start(args, format);
    len = vsnprintf(piece, sizeof piece, format, args);
    va_end(args);
    fl_assert(len >= 0);
    if ((size_t)len < sizeof piece) {
        fl_write_raw(w, fl_bytes(piece, (size_t)len));
        return;
    }
    va_start(args, format); /* too long for the piece: once more, in place */
    (void)vsnprintf((char *)fl_write_space(w, (size_t)len + 1), (size_t)len + 1, format, args);
    va_end(args);
    w->len--;
}

/* Bytes of the UTF-8 sequence at the start of `b`; 0 when it is none (RFC 3629). */
static size_t utf8_length(struct fl_bytes b)
{
    uint8_t first = b.data[0];
    size_t len = first < 0x80                     ? 1
                 : first >= 0xc2 && first <= 0xdf ? 2
                 : first >= 0xe0 && first <= 0xef ? 3
                 : first >= 0xf0 && first <= 0xf4 ? 4
                                                  : 0;

    if (len == 0 || len > b.len) {
        return 0;
    }
    for (size_t i = 1; i < len; i++) {
        if ((b.data[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    if ((first == 0xe0 && b.data[1] < 0xa0) || (first == 0xed && b.data[1] > 0x9f) ||
        (first == 0xf0 && b.data[1] < 0x90) || (first == 0xf4 && b.data[1] > 0x8f)) {
        return 0; /* overlong, a surrogate, or beyond Unicode */
    }
    return len;
}

void api_text_json(struct fl_writer *w, struct fl_bytes bytes)
{
    fl_write_u8(w, '"');
    for (size_t i = 0; i < bytes.len;) {
        uint8_t c = bytes.data[i];
        size_t len = utf8_length(fl_bytes(bytes.data + i, bytes.len - i));

        if (c == '"' || c == '\\') {
            api_text(w, "\\%c", c);
        } else if (c < 0x20 || c == 0x7f || len == 0) {
            api_text(w, "\\u%04x", c);
        } else {
            fl_write_raw(w, fl_bytes(bytes.data + i, len));
        }
        i += len == 0 ? 1 : len;
    }
    fl_write_u8(w, '"');
}

void api_text_key(struct fl_writer *w, struct fl_bytes key)
{
    for (size_t i = 0; i < key.len; i++) {
        uint8_t c = key.data[i];

        if (c >= 0x20 && c < 0x7f && c != '\\') {
            fl_write_u8(w, c);
        } else {
            api_text(w, "\\x%02x", c);
        }
    }
}

void api_text_base64(struct fl_writer *w, struct fl_bytes bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t left = bytes.len - i;
        uint32_t bits = (uint32_t)bytes.data[i] << 16 |
                        (left > 1 ? (uint32_t)bytes.data[i + 1] << 8 : 0) |
                        (left > 2 ? bytes.data[i + 2] : 0);

        fl_write_u8(w, (uint8_t)digits[bits >> 18]);
        fl_write_u8(w, (uint8_t)digits[bits >> 12 & 63]);
        fl_write_u8(w, (uint8_t)(left > 1 ? digits[bits >> 6 & 63] : '='));
        fl_write_u8(w, (uint8_t)(left > 2 ? digits[bits & 63] : '='));
    }
}

/* Goal: text for people and programs is well formed whatever bytes it is made of; the arena gives
 * aligned memory that does not overlap.
 * Method: known answers, and patterns written into everything an arena gave. */
#include "api/arena.h"
#include "api/convert.h"
#include "api/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void assert_text(struct fl_writer *w, const char *expected)
{
    fl_write_u8(w, '\0');
    assert_string_equal((const char *)w->data, expected);
    fl_writer_reset(w);
}

static void json_strings_are_always_valid(void **state)
{
    struct fl_writer w;

    (void)state;
    fl_writer_init(&w);
    api_text_json(&w, fl_bytes_of_string("a\"b\\c\n"));
    assert_text(&w, "\"a\\\"b\\\\c\\u000a\"");
    api_text_json(&w, fl_bytes_of_string("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"));
    assert_text(&w, "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"");
    /* a lone continuation, an overlong slash, a surrogate, a cut sequence, beyond Unicode */
    api_text_json(&w, fl_bytes_of_string("\x80\xc0\xaf\xed\xa0\x80\xf4\x90\x80\x80"));
    assert_text(&w, "\"\\u0080\\u00c0\\u00af\\u00ed\\u00a0\\u0080\\u00f4\\u0090\\u0080\\u0080\"");
    api_text_json(&w, fl_bytes("\xe2\x82", 2));
    assert_text(&w, "\"\\u00e2\\u0082\"");
    api_text_json(&w, fl_bytes("\0\x7f", 2));
    assert_text(&w, "\"\\u0000\\u007f\"");
    fl_writer_close(&w);
}

static void keys_and_base64(void **state)
{
    struct fl_writer w;

    (void)state;
    fl_writer_init(&w);
    api_text_key(&w, fl_bytes("a b\\\0\xff", 6));
    assert_text(&w, "a b\\x5c\\x00\\xff");
    api_text_base64(&w, fl_bytes_of_string(""));
    api_text_base64(&w, fl_bytes_of_string("f"));
    api_text_base64(&w, fl_bytes_of_string("fo"));
    api_text_base64(&w, fl_bytes_of_string("foo"));
    api_text_base64(&w, fl_bytes("\xff\xfe\xfd\xfc", 4));
    assert_text(&w, "Zg==Zm8=Zm9v//79/A==");
    fl_writer_close(&w);
}

static void long_texts_are_not_cut(void **state)
{
    char long_text[2000];
    struct fl_writer w;

    (void)state;
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    fl_writer_init(&w);
    api_text(&w, "<%s>", long_text);
    assert_int_equal(w.len, sizeof long_text + 1);
    assert_int_equal(w.data[0], '<');
    assert_int_equal(w.data[w.len - 1], '>');
    fl_writer_close(&w);
}

/* Pieces of all sizes around the edges of the first piece and of chunks. */
static void arena_pieces_do_not_overlap(void **state)
{
    enum { PIECES = 400 };
    static const size_t sizes[] = {1, 16, 17, 100, 1000, 1024, 5000, 16384, 20000, 0};
    uint8_t *pieces[PIECES];
    struct api_arena arena;

    (void)state;
    api_arena_init(&arena);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < PIECES; i++) {
            size_t size = sizes[i % 10];

            pieces[i] = api_arena_take(&arena, size);
            assert_int_equal((uintptr_t)pieces[i] % 16, 0);
            memset(pieces[i], (int)(i & 0xff), size);
        }
        for (size_t i = 0; i < PIECES; i++) {
            for (size_t k = 0; k < sizes[i % 10]; k++) {
                assert_int_equal(pieces[i][k], i & 0xff);
            }
        }
        api_arena_reset(&arena);
    }
    assert_ptr_equal(api_arena_take(&arena, 8), arena.first); /* reset goes back to the start */
    api_arena_close(&arena);
}

static void lists_are_split(void **state)
{
    struct api_arena arena;
    char **list;
    size_t count;

    (void)state;
    api_arena_init(&arena);
    list = api_arena_split(&arena, "a,,bc,", &count);
    assert_int_equal(count, 2);
    assert_string_equal(list[0], "a");
    assert_string_equal(list[1], "bc");
    (void)api_arena_split(&arena, "", &count);
    assert_int_equal(count, 0);
    api_arena_close(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_strings_are_always_valid),
        cmocka_unit_test(keys_and_base64),
        cmocka_unit_test(long_texts_are_not_cut),
        cmocka_unit_test(arena_pieces_do_not_overlap),
        cmocka_unit_test(lists_are_split),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

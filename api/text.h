/* Growing text: formatted pieces, JSON strings, keys for people.
 *
 * Owner: the caller's writer. Lifetime: its. Threads: the caller's. */
#ifndef API_TEXT_H
#define API_TEXT_H

#include "raftgroup/base/bytes.h"

/* Appends formatted text. */
void api_text(struct fl_writer *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Appends a JSON string with its quotes. Bytes that are no UTF-8 appear as \u00NN, so that the text
 * is always valid JSON. */
void api_text_json(struct fl_writer *w, struct fl_bytes bytes);
/* Appends a key as it is where it is printable ASCII, other bytes as \xNN. */
void api_text_key(struct fl_writer *w, struct fl_bytes key);
/* Appends a base64 text. */
void api_text_base64(struct fl_writer *w, struct fl_bytes bytes);

#endif

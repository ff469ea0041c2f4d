// TOML by toml++, as a flat list of nodes: what Swift needs of it, and nothing of C++.
#ifndef CTOML_H
#define CTOML_H

#include <stddef.h>
#include <stdint.h>

enum station_toml_kind {
    station_toml_table,
    station_toml_list,
    station_toml_string,
    station_toml_integer,
    station_toml_boolean,
    // Floating point numbers, dates, times.
    station_toml_other,
};

// A value. Members of tables and lists follow directly behind it, each with all of its own: a list in pre-order.
struct station_toml_node {
    enum station_toml_kind kind;
    // How many members a table or list has.
    size_t count;
    // The key it has in its table, not terminated, and where that stands; NULL in lists and for the document.
    const char *key;
    size_t key_length;
    uint32_t key_line, key_column;
    // A string's content, not terminated.
    const char *text;
    size_t text_length;
    // The value of an integer or a boolean.
    int64_t number;
    // Where it begins and ends, from 1; columns in code points. The end is behind the last one.
    uint32_t line, column, end_line, end_column;
};

struct station_toml;

// Reads a document of UTF-8. NULL when memory ran out. To be freed, after which no node is valid any more.
struct station_toml *station_toml_read(const char *bytes, size_t count);
void station_toml_free(struct station_toml *document);

// What is wrong with it, where; NULL when nothing is.
const char *station_toml_error(const struct station_toml *document, uint32_t *line, uint32_t *column);

size_t station_toml_count(const struct station_toml *document);
const struct station_toml_node *station_toml_nodes(const struct station_toml *document);

#endif

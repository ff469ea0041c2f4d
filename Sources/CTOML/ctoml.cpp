extern "C" {
#include "ctoml.h"
}

#include <cctype>
#include <cstring>
#include <new>
#include <string>
#include <string_view>
#include <vector>

// toml++ takes for granted what is not always so: “[!]” is enough. Then the document is wrong, and the program goes on.
struct assumption_failed {};
#undef NDEBUG
#define TOML_ASSERT(expression) ((expression) ? static_cast<void>(0) : throw assumption_failed{})
#define TOML_EXCEPTIONS 1
#include <toml++/toml.h>

struct station_toml {
    // The nodes point into it.
    toml::table root;
    std::vector<station_toml_node> nodes;
    std::string error;
    toml::source_position place{1, 1};
};

namespace {

void add(std::vector<station_toml_node> &nodes, const toml::node &value, const toml::key *key) {
    station_toml_node node{};
    const auto &source = value.source();
    node.line = source.begin.line;
    node.column = source.begin.column;
    node.end_line = source.end.line;
    node.end_column = source.end.column;
    if (key) {
        node.key = key->str().data();
        node.key_length = key->str().size();
        node.key_line = key->source().begin.line;
        node.key_column = key->source().begin.column;
    }
    switch (value.type()) {
        case toml::node_type::table: {
            node.kind = station_toml_table;
            node.count = value.as_table()->size();
            nodes.push_back(node);
            for (const auto &[name, member] : *value.as_table()) add(nodes, member, &name);
            return;
        }
        case toml::node_type::array: {
            node.kind = station_toml_list;
            node.count = value.as_array()->size();
            nodes.push_back(node);
            for (const auto &member : *value.as_array()) add(nodes, member, nullptr);
            return;
        }
        case toml::node_type::string: {
            node.kind = station_toml_string;
            node.text = value.as_string()->get().data();
            node.text_length = value.as_string()->get().size();
            break;
        }
        case toml::node_type::integer:
            node.kind = station_toml_integer;
            node.number = value.as_integer()->get();
            break;
        case toml::node_type::boolean:
            node.kind = station_toml_boolean;
            node.number = value.as_boolean()->get() ? 1 : 0;
            break;
        default: node.kind = station_toml_other; break;
    }
    nodes.push_back(node);
}

// Where the name of a table begins with what no key has, as far as can be told without reading the rest.
toml::source_position nameless_table(std::string_view text) {
    for (uint32_t line = 1;; ++line) {
        const auto end = text.find('\n');
        const auto row = text.substr(0, end);
        auto at = row.find_first_not_of(" \t");
        if (at != row.npos && row[at] == '[') {
            at = row.find_first_not_of("[ \t", at);
            if (at != row.npos && !std::isalnum(static_cast<unsigned char>(row[at]))
                && std::string_view("_-\"']").find(row[at]) == row.npos)
                return {line, static_cast<uint32_t>(at + 1)};
        }
        if (end == text.npos) return {1, 1};
        text.remove_prefix(end + 1);
    }
}

} // namespace

struct station_toml *station_toml_read(const char *bytes, size_t count) {
    auto *document = new (std::nothrow) station_toml;
    if (!document) return nullptr;
    try {
        document->root = toml::parse(std::string_view(bytes, count));
        add(document->nodes, document->root, nullptr);
    } catch (const toml::parse_error &error) {
        document->error = std::string(error.description());
        document->place = error.source().begin;
    } catch (const assumption_failed &) {
        document->error = "something stands where a key should be";
        document->place = nameless_table({bytes, count});
    } catch (...) {
        delete document;
        return nullptr;
    }
    return document;
}

void station_toml_free(struct station_toml *document) { delete document; }

const char *station_toml_error(const struct station_toml *document, uint32_t *line, uint32_t *column) {
    if (document->error.empty()) return nullptr;
    *line = document->place.line;
    *column = document->place.column;
    return document->error.c_str();
}

size_t station_toml_count(const struct station_toml *document) { return document->nodes.size(); }

const struct station_toml_node *station_toml_nodes(const struct station_toml *document) {
    return document->nodes.data();
}

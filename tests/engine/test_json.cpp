// The JSON reader: what it takes, and that it takes nothing else.
#include "json.hpp"

#include <vector>

#include "check.hpp"

using vtr::JsonReader;

namespace {

std::string read_string(std::string_view text) {
    JsonReader json(text);
    std::string value = json.string();
    json.end();
    return value;
}

int64_t read_whole(std::string_view text) {
    JsonReader json(text);
    const int64_t value = json.whole();
    json.end();
    return value;
}

std::vector<int64_t> read_array(std::string_view text) {
    JsonReader json(text);
    std::vector<int64_t> values;
    json.array([&] { values.push_back(json.whole()); });
    json.end();
    return values;
}

std::vector<std::string> read_object(std::string_view text) {
    JsonReader json(text);
    std::vector<std::string> pairs;
    json.object([&](const std::string& key) { pairs.push_back(key + "=" + json.string()); });
    json.end();
    return pairs;
}

void strings() {
    CHECK(read_string("\"\"") == "");
    CHECK(read_string(" \t\r\n\"a b\" ") == "a b");
    CHECK(read_string(R"("\"\\\/\b\f\n\r\t")") == "\"\\/\b\f\n\r\t");
    CHECK(read_string(R"("\u0041\u00e9\u20AC\uD83D\uDE00")") == "A\u00e9\u20ac\U0001F600");
    CHECK(read_string("\"\u00e9\u20ac\U0001F600\U0010FFFF\"") == "\u00e9\u20ac\U0001F600\U0010FFFF");
    CHECK(read_string(R"("\u0000")") == std::string(1, '\0'));
    for (const char* bad :
         {"", "\"", "a", "'a'", "\"a", "\"\\\"", "\"\\", "\"\\u", "\"\\u12\"", "\"\\u12G4\"", "\"\\x41\"",
          "\"\\uD83D\"", "\"\\uD83Dx\"", "\"\\uD83D\\n\"", "\"\\uD83D\\u0041\"", "\"\\uDE00\"", "\"a\nb\"",
          "\"\x01\"", "\"a\" b", "\"a\"\"",
          // UTF-8: a lone continuation, over-long, cut off, a surrogate, above U+10FFFF, no such lead
          "\"\x80\"", "\"\xC0\xAF\"", "\"\xC1\xBF\"", "\"\xE0\x80\xAF\"", "\"\xF0\x80\x80\xAF\"", "\"\xC3\"",
          "\"\xE2\x82\"", "\"\xF0\x9F\x98\"", "\"\xE2\x82", "\"\xED\xA0\x80\"", "\"\xF4\x90\x80\x80\"",
          "\"\xF5\x80\x80\x80\"", "\"\xFF\""})
        CHECK_THROWS(VTR_CORRUPT, read_string(bad));
}

void numbers() {
    CHECK(read_whole("0") == 0);
    CHECK(read_whole(" 12 ") == 12);
    CHECK(read_whole("4611686018427387904") == int64_t{1} << 62);
    for (const char* bad : {"",
                            "-1",
                            "-0",
                            "+1",
                            "01",
                            "00",
                            "1.0",
                            "1.",
                            "1e3",
                            "1E3",
                            ".5",
                            "x",
                            "1 2",
                            "0x10",
                            "4611686018427387905",
                            "9223372036854775808",
                            "9999999999999999999",
                            "18446744073709551617",
                            "99999999999999999999999999",
                            "NaN",
                            "Infinity",
                            "\"1\""})
        CHECK_THROWS(VTR_CORRUPT, read_whole(bad));
}

void arrays_and_objects() {
    CHECK(read_array("[]").empty());
    CHECK((read_array(" [ 1 , 2,3 ] ") == std::vector<int64_t>{1, 2, 3}));
    for (const char* bad : {"", "[", "]", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "[1]]", "[[1]]", "[null]", "{}"})
        CHECK_THROWS(VTR_CORRUPT, read_array(bad));
    CHECK(read_object("{}").empty());
    CHECK((read_object(R"( { "a" : "1" , "b":"2" } )") == std::vector<std::string>{"a=1", "b=2"}));
    for (const char* bad : {"{", "}", "{\"a\"}", "{\"a\":}", "{\"a\":\"1\"", "{\"a\":\"1\",}", "{a:\"1\"}",
                            "{\"a\" \"1\"}", "{\"a\":\"1\"}}", "{\"a\":1}", "{\"a\":{}}", "[]", "{,}"})
        CHECK_THROWS(VTR_CORRUPT, read_object(bad));
}

void deep_nesting() {  // must be refused at its second bracket, not followed down
    const std::string brackets(1 << 20, '['), braces(1 << 20, '{');
    CHECK_THROWS(VTR_CORRUPT, read_array(brackets));
    CHECK_THROWS(VTR_CORRUPT, read_object(braces));
}

void written_strings() {
    for (const std::string& text :
         {std::string(), std::string("a\"b\\c\n\x01"), std::string("\u20ac"), std::string(1, '\0')})
        CHECK(read_string(vtr::json_string(text)) == text);
}

}  // namespace

int main() {
    strings();
    numbers();
    arrays_and_objects();
    deep_nesting();
    written_strings();
    CHECK_DONE();
}

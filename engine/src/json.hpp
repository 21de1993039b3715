// Reading JSON of a shape that is known beforehand, from sources that are not trusted.
//
// The caller asks for what must come next, so there is no tree, no depth and no recursion that a file could
// choose.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace vtr {

// Every function throws Error(VTR_CORRUPT) with the position, where something else comes.
class JsonReader {
  public:
    explicit JsonReader(std::string_view text) : text_(text) {}

    // Calls member(key) for every member of an object; it reads the value.
    template <class Member>
    void object(Member member) {
        expect('{');
        if (accept('}')) return;
        do {
            const std::string key = string();
            expect(':');
            member(key);
        } while (accept(','));
        expect('}');
    }

    // Calls element() for every element of an array; it reads the element.
    template <class Element>
    void array(Element element) {
        expect('[');
        if (accept(']')) return;
        do element();
        while (accept(','));
        expect(']');
    }

    std::string string();  // as UTF-8, checked
    int64_t whole();       // a number of digits only, at most 2^62
    void skip();           // any value; arrays and objects in it at most 32 deep
    void end();            // nothing but white space follows

    // Throws Error(VTR_CORRUPT): what was expected at this position.
    [[noreturn]] void fail(const std::string& expected) const;

  private:
    bool accept(char c);
    void expect(char c);
    void skip_scalar();
    void skip_space();
    void escape(std::string& out);
    void multibyte(std::string& out);
    uint32_t hex4();

    std::string_view text_;
    size_t position_ = 0;
};

// A string, which is UTF-8, with its quotes.
std::string json_string(std::string_view text);

}  // namespace vtr

// Reading JSON (RFC 8259) strictly; writing strings.
#include "json.hpp"

#include "error.hpp"

namespace vtr {
namespace {

constexpr int64_t MAX_WHOLE = int64_t{1} << 62;
constexpr size_t MAX_DEPTH = 32;

void append_utf8(std::string& out, uint32_t point) {
    const auto put = [&out](uint32_t byte) { out += static_cast<char>(byte); };
    if (point < 0x80) {
        put(point);
    } else if (point < 0x800) {
        put(0xC0 | point >> 6), put(0x80 | (point & 0x3F));
    } else if (point < 0x10000) {
        put(0xE0 | point >> 12), put(0x80 | (point >> 6 & 0x3F)), put(0x80 | (point & 0x3F));
    } else {
        put(0xF0 | point >> 18), put(0x80 | (point >> 12 & 0x3F));
        put(0x80 | (point >> 6 & 0x3F)), put(0x80 | (point & 0x3F));
    }
}

}  // namespace

void JsonReader::fail(const std::string& expected) const {
    throw Error(VTR_CORRUPT, "not the JSON that belongs there: expected " + expected + " at byte " +
                                 std::to_string(position_) + " of " + std::to_string(text_.size()));
}

void JsonReader::skip_space() {
    while (position_ < text_.size() && std::string_view(" \t\n\r").find(text_[position_]) != text_.npos)
        ++position_;
}

bool JsonReader::accept(char c) {
    skip_space();
    if (position_ == text_.size() || text_[position_] != c) return false;
    ++position_;
    return true;
}

void JsonReader::expect(char c) {
    if (!accept(c)) fail(std::string("'") + c + "'");
}

void JsonReader::end() {
    skip_space();
    if (position_ != text_.size()) fail("the end");
}

int64_t JsonReader::whole() {
    skip_space();
    const size_t first = position_;
    int64_t value = 0;
    for (; position_ < text_.size() && text_[position_] >= '0' && text_[position_] <= '9'; ++position_) {
        const int64_t digit = text_[position_] - '0';
        if (position_ > first && text_[first] == '0') fail("a number without a leading zero");
        if (value > (MAX_WHOLE - digit) / 10) fail("a number of at most 2^62");
        value = 10 * value + digit;
    }
    if (position_ == first) fail("a whole number");
    if (position_ < text_.size() && std::string_view(".eE").find(text_[position_]) != text_.npos)
        fail("a whole number");
    return value;
}

void JsonReader::skip() {
    std::string ends;  // what closes the arrays and objects that are open
    while (true) {
        bool begun = true;  // an array or object, of which nothing was read yet
        if (accept('{'))
            ends += '}';
        else if (accept('['))
            ends += ']';
        else
            skip_scalar(), begun = false;
        if (ends.size() > MAX_DEPTH) fail("arrays and objects less deep");
        while (!ends.empty() && accept(ends.back())) ends.pop_back(), begun = false;
        if (ends.empty()) return;
        if (!begun) expect(',');
        if (ends.back() == '}') string(), expect(':');
    }
}

void JsonReader::skip_scalar() {
    skip_space();
    for (const std::string_view word : {"true", "false", "null"})
        if (text_.substr(position_, word.size()) == word) {
            position_ += word.size();
            return;
        }
    if (position_ < text_.size() && text_[position_] == '"') {
        string();
        return;
    }
    const auto digits = [this] {
        const size_t first = position_;
        while (position_ < text_.size() && text_[position_] >= '0' && text_[position_] <= '9') ++position_;
        if (position_ == first) fail("a value");
    };
    const auto one_of = [this](std::string_view characters) {
        const bool found = position_ < text_.size() && characters.find(text_[position_]) != characters.npos;
        position_ += found;
        return found;
    };
    one_of("-");
    digits();
    if (one_of(".")) digits();
    if (one_of("eE")) one_of("+-"), digits();
}

std::string JsonReader::string() {
    expect('"');
    std::string out;
    while (true) {
        if (position_ == text_.size()) fail("the end of a string");
        const auto byte = static_cast<unsigned char>(text_[position_]);
        if (byte == '"') break;
        if (byte < 0x20) fail("no control character in a string");
        if (byte == '\\') {
            ++position_;
            escape(out);
        } else if (byte < 0x80) {
            out += text_[position_++];
        } else {
            multibyte(out);
        }
    }
    ++position_;
    return out;
}

void JsonReader::escape(std::string& out) {
    if (position_ == text_.size()) fail("an escaped character");
    constexpr std::string_view names = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
    const char name = text_[position_];
    if (const size_t found = names.find(name); found != names.npos) {
        out += meanings[found];
        ++position_;
        return;
    }
    if (name != 'u') fail("one of \"\\/bfnrtu after a backslash");
    ++position_;
    uint32_t point = hex4();
    if (point >= 0xDC00 && point < 0xE000) fail("the first half of a surrogate pair before the second");
    if (point >= 0xD800 && point < 0xDC00) {
        if (text_.substr(position_, 2) != "\\u") fail("the second half of a surrogate pair");
        position_ += 2;
        const uint32_t second = hex4();
        if (second < 0xDC00 || second >= 0xE000) fail("the second half of a surrogate pair");
        point = 0x10000 + ((point - 0xD800) << 10 | (second - 0xDC00));
    }
    append_utf8(out, point);
}

uint32_t JsonReader::hex4() {
    uint32_t value = 0;
    for (int digit = 0; digit < 4; ++digit, ++position_) {
        if (position_ == text_.size()) fail("four hexadecimal digits");
        const char c = text_[position_];
        if (c >= '0' && c <= '9')
            value = value << 4 | static_cast<uint32_t>(c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            value = value << 4 | static_cast<uint32_t>((c | 0x20) - 'a' + 10);
        else
            fail("four hexadecimal digits");
    }
    return value;
}

// One character of two to four bytes. No over-long forms, surrogates or points above U+10FFFF.
void JsonReader::multibyte(std::string& out) {
    const auto lead = static_cast<unsigned char>(text_[position_]);
    const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    uint32_t point = lead & (0x7F >> length);
    bool sound = lead >= 0xC2 && lead <= 0xF4 && text_.size() - position_ >= length;
    for (size_t i = 1; sound && i < length; ++i) {
        const auto next = static_cast<unsigned char>(text_[position_ + i]);
        sound = (next & 0xC0) == 0x80;
        point = point << 6 | (next & 0x3F);
    }
    constexpr uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    if (!sound || point < least[length] || point > 0x10FFFF || (point >= 0xD800 && point < 0xE000)) fail("UTF-8");
    out += text_.substr(position_, length);
    position_ += length;
}

std::string json_string(std::string_view text) {
    constexpr char digits[] = "0123456789abcdef";
    std::string out = "\"";
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\')
            (out += '\\') += c;
        else if (byte < 0x20)
            ((out += "\\u00") += digits[byte >> 4]) += digits[byte & 15];
        else
            out += c;
    }
    return out += '"';
}

}  // namespace vtr

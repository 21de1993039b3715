#include "columns.hpp"

#include <cstdint>
#include <string>

#include "error.hpp"

namespace vtr {

namespace {

[[noreturn]] void refuse(const std::string& message) { throw Error(VTR_INVALID_ARGUMENT, message); }

std::string column_names(const Scorer& scorer) {
    std::string names;
    for (const Column& column : scorer.columns) names += (names.empty() ? "'" : ", '") + column.name + "'";
    return names;
}

void check_array(const Column& column, size_t rows, const vtr_array& array) {
    const std::string name = "column '" + column.name + "'";
    if (array.dtype != VTR_F32 && array.dtype != VTR_F16 && array.dtype != VTR_BF16)
        refuse(name + ": expected a dtype of vtr_dtype, got " + std::to_string(array.dtype));
    if (column.storage == Storage::f32 && array.dtype != VTR_F32) refuse(name + ": expected float32: convert it");

    std::vector<int64_t> expected{static_cast<int64_t>(rows)};
    expected.insert(expected.end(), column.shape.begin(), column.shape.end());
    if (array.ndim < 0 || array.ndim > 4)
        refuse(name + ": expected 0 to 4 dimensions, got " + std::to_string(array.ndim));
    const std::vector<int64_t> shape(array.shape, array.shape + array.ndim);
    if (shape != expected)
        refuse(name + ": expected shape " + shape_name(expected) + ", got " + shape_name(shape));

    const size_t item = array.dtype == VTR_F32 ? 4 : 2;
    size_t row = item;
    for (const int64_t size : column.shape) row *= static_cast<size_t>(size);  // of a model: small
    if (rows > PTRDIFF_MAX / row)
        refuse(name + ": " + std::to_string(rows) + " rows are more than memory can hold");
    if (rows > 0 && array.data == nullptr) refuse(name + ": its data is NULL");
    if (reinterpret_cast<uintptr_t>(array.data) % item != 0)
        refuse(name + ": its data is not at a multiple of its item size: copy it to aligned memory");
}

}  // namespace

std::string shape_name(std::span<const int64_t> shape) {
    std::string name = "[";
    for (const int64_t size : shape) name += (name.size() == 1 ? "" : ", ") + std::to_string(size);
    return name + "]";
}

std::vector<const vtr_array*> match_columns(const Scorer& scorer, size_t rows, std::span<const vtr_array> arrays) {
    std::vector<const vtr_array*> matched(scorer.columns.size());
    for (const vtr_array& array : arrays) {
        if (array.name == nullptr) refuse("a column has no name: expected " + column_names(scorer));
        size_t number = 0;
        while (number < matched.size() && scorer.columns[number].name != array.name) ++number;
        if (number == matched.size())
            refuse("unknown column '" + std::string(array.name) + "': expected " + column_names(scorer));
        if (matched[number]) refuse("column '" + scorer.columns[number].name + "' is there twice");
        check_array(scorer.columns[number], rows, array);
        matched[number] = &array;
    }
    for (size_t number = 0; number < matched.size(); ++number)
        if (!matched[number]) refuse("column '" + scorer.columns[number].name + "' is missing");
    return matched;
}

}  // namespace vtr

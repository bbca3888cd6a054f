// Opening and checking a GGUF file: every count, length, type and offset, before anything is used.
#include "engine/gguf/gguf.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "base/concat.hpp"
#include "base/file.hpp"
#include "engine/gguf/cursor.hpp"
#include "engine/gguf/printable.hpp"

namespace deepwell::engine {
namespace {

using gguf::Cursor;
using gguf::printable;
using gguf::ValueType;

// The fewest bytes that an entry can take: counts beyond what fits are refused before anything is
// allocated.
constexpr std::uint64_t kMinValueBytes = 8 + 1 + 4 + 1;  // key length, key, type, value
constexpr std::uint64_t kMinTensorBytes =
    8 + 1 + 4 + 8 + 4 + 8;                     // name length, name, n_dims, dim, type, offset
constexpr std::uint64_t kMaxKeyBytes = 65535;  // the format's own limit
constexpr std::uint64_t kMaxNameBytes = 1024;
constexpr unsigned kMaxArrayDepth = 4;

/// a * b, or nothing if it does not fit.
std::optional<std::uint64_t> multiply(std::uint64_t a, std::uint64_t b) {
  if (b != 0 && a > std::numeric_limits<std::uint64_t>::max() / b) {
    return std::nullopt;
  }
  return a * b;
}

Result<ValueType> read_value_type(Cursor& cursor, std::string_view key) {
  DW_ASSIGN(const std::uint32_t number, cursor.read<std::uint32_t>("a value type"));
  if (number > gguf::kLastValueType) {
    return invalid_argument(
        concat("key '", printable(key), "' has the unknown value type ", number));
  }
  return static_cast<ValueType>(number);
}

Status skip_array(Cursor& cursor, std::string_view key, ValueType element, std::uint64_t n_elements,
                  unsigned depth);

Status skip_element(Cursor& cursor, std::string_view key, ValueType type, unsigned depth) {
  if (type == ValueType::kString) {
    // The message is built only when it is needed: vocabularies have 150,000 strings.
    if (auto text = cursor.read_string("a string"); !text) {
      Error why = std::move(text).error();
      why.message = concat("in key '", printable(key), "': ", why.message);
      return why;
    }
    return {};
  }
  DW_ASSIGN(const ValueType element, read_value_type(cursor, key));
  DW_ASSIGN(const std::uint64_t n_elements, cursor.read<std::uint64_t>("an array length"));
  return skip_array(cursor, key, element, n_elements, depth + 1);
}

/// Passes an array's elements, checking each.
Status skip_array(Cursor& cursor, std::string_view key, ValueType element, std::uint64_t n_elements,
                  unsigned depth) {
  if (depth > kMaxArrayDepth) {
    return invalid_argument(
        concat("key '", printable(key), "' nests arrays more than ", kMaxArrayDepth, " deep"));
  }
  const std::uint64_t n_bytes_each = gguf::value_bytes(element);
  // Strings take at least their 8-byte length, arrays 12 bytes.
  const std::uint64_t n_bytes_least = n_bytes_each != 0 ? n_bytes_each : 8;
  if (n_elements > cursor.n_left() / n_bytes_least) {
    return data_loss(concat("key '", printable(key), "' claims an array of ", n_elements,
                            " elements of type ", gguf::value_type_name(element), " with ",
                            cursor.n_left(), " bytes left in the file"));
  }
  if (n_bytes_each != 0) {
    DW_ASSIGN(const auto elements, cursor.take(n_elements * n_bytes_each, "an array"));
    if (element == ValueType::kBool && std::any_of(elements.begin(), elements.end(),
                                                   [](std::byte b) { return b > std::byte{1}; })) {
      return data_loss(concat("key '", printable(key), "' holds a bool that is neither 0 nor 1"));
    }
    return {};
  }
  for (std::uint64_t i = 0; i < n_elements; ++i) {
    DW_TRY(skip_element(cursor, key, element, depth));
  }
  return {};
}

/// Indices of `items` in the order of name(item); the first name that occurs twice goes to
/// `duplicate`.
template <class Item, class Name>
std::vector<std::uint32_t> index_by_name(const std::vector<Item>& items, Name name,
                                         std::optional<std::string_view>& duplicate) {
  std::vector<std::uint32_t> order(items.size());
  std::iota(order.begin(), order.end(), 0U);
  std::sort(order.begin(), order.end(),
            [&](std::uint32_t a, std::uint32_t b) { return name(items[a]) < name(items[b]); });
  for (std::size_t i = 1; i < order.size() && !duplicate; ++i) {
    if (name(items[order[i - 1]]) == name(items[order[i]])) {
      duplicate = name(items[order[i]]);
    }
  }
  return order;
}

template <class Item, class Name>
const Item* find_by_name(const std::vector<Item>& items, const std::vector<std::uint32_t>& order,
                         Name name, std::string_view wanted) {
  const auto at =
      std::lower_bound(order.begin(), order.end(), wanted,
                       [&](std::uint32_t i, std::string_view w) { return name(items[i]) < w; });
  return at != order.end() && name(items[*at]) == wanted ? &items[*at] : nullptr;
}

constexpr auto kKeyOf = [](const auto& value) -> std::string_view { return value.key; };
constexpr auto kNameOf = [](const GgufTensor& tensor) -> std::string_view { return tensor.name; };

}  // namespace

std::uint64_t GgufTensor::n_elements() const {
  return std::accumulate(shape.begin(), shape.end(), std::uint64_t{1}, std::multiplies<>());
}

/// The steps of loading, in the order of the file.
struct GgufFile::Loader {
  GgufFile& file;
  Cursor cursor;
  std::uint64_t n_tensors = 0;
  std::uint64_t n_values = 0;
  std::uint64_t alignment = gguf::kDefaultAlignment;
  std::vector<std::uint64_t> offsets;      // [n_tensors] from the start of the tensor data
  std::vector<std::uint64_t> sizes_bytes;  // [n_tensors]

  explicit Loader(GgufFile& f) : file(f), cursor(f.bytes_) {}

  Status load() {
    DW_TRY(read_header());
    DW_TRY(read_values());
    DW_TRY(check_general_values());
    DW_TRY(read_tensor_table());
    return place_tensors();
  }

  Status read_header() {
    DW_ASSIGN(const std::string_view magic, cursor.take_text(gguf::kMagic.size(), "the magic"));
    if (magic != gguf::kMagic) {
      return invalid_argument(
          concat("not a GGUF file: it starts with '", printable(magic), "' instead of 'GGUF'"));
    }
    DW_ASSIGN(file.version_, cursor.read<std::uint32_t>("the version"));
    if (file.version_ != 0 && (file.version_ & 0xFFFFU) == 0) {
      return invalid_argument(
          "a big-endian GGUF file; only little-endian ones are read here: convert the model again "
          "as little-endian");
    }
    if (file.version_ == 1) {
      return invalid_argument(
          "GGUF version 1 is not read here: convert the model again (versions 2 and 3 are)");
    }
    if (file.version_ < gguf::kOldestVersion || file.version_ > gguf::kVersion) {
      return invalid_argument(
          concat("unknown GGUF version ", file.version_, "; versions 2 and 3 are read"));
    }
    DW_ASSIGN(n_tensors, cursor.read<std::uint64_t>("the tensor count"));
    DW_ASSIGN(n_values, cursor.read<std::uint64_t>("the key count"));
    DW_TRY(check_count(n_values, kMinValueBytes, "keys"));
    return check_count(n_tensors, kMinTensorBytes, "tensors");
  }

  Status check_count(std::uint64_t count, std::uint64_t n_bytes_least,
                     std::string_view what) const {
    if (count > cursor.n_left() / n_bytes_least ||
        count > std::numeric_limits<std::uint32_t>::max()) {
      return data_loss(concat("the header claims ", count, " ", what, ", more than a file of ",
                              file.bytes_.size(), " bytes can hold"));
    }
    return {};
  }

  Status read_values() {
    file.values_.reserve(static_cast<std::size_t>(n_values));
    for (std::uint64_t i = 0; i < n_values; ++i) {
      DW_TRY(read_value());
    }
    std::optional<std::string_view> duplicate;
    file.values_by_key_ = index_by_name(file.values_, kKeyOf, duplicate);
    if (duplicate) {
      return data_loss(concat("key '", printable(*duplicate), "' occurs twice"));
    }
    return {};
  }

  Status read_value() {
    Value value{};
    DW_ASSIGN(value.key, cursor.read_string("a key"));
    if (value.key.empty() || value.key.size() > kMaxKeyBytes) {
      return data_loss(concat("a key of ", value.key.size(), " bytes before byte ",
                              cursor.position(), "; 1 to ", kMaxKeyBytes, " are allowed"));
    }
    DW_ASSIGN(value.type, read_value_type(cursor, value.key));
    value.n_elements = 1;
    if (value.type == ValueType::kArray) {
      value.is_array = true;
      DW_ASSIGN(value.type, read_value_type(cursor, value.key));
      DW_ASSIGN(value.n_elements, cursor.read<std::uint64_t>("an array length"));
    }
    const std::size_t start = cursor.position();
    DW_TRY(skip_array(cursor, value.key, value.type, value.n_elements, 1));
    value.bytes = cursor.since(start);
    file.values_.push_back(value);
    return {};
  }

  Status check_general_values() {
    if (file.has(gguf::kAlignmentKey)) {
      DW_ASSIGN(alignment, file.get_uint(gguf::kAlignmentKey));
      if (alignment == 0 || (alignment & (alignment - 1)) != 0 || alignment > (1U << 30)) {
        return data_loss(concat("key '", gguf::kAlignmentKey, "' is ", alignment,
                                "; it must be a power of two, 2^30 at most"));
      }
    }
    if (file.has("split.count")) {
      DW_ASSIGN(const std::uint64_t n_parts, file.get_uint("split.count"));
      if (n_parts > 1) {
        return invalid_argument(concat("this is one of the ", n_parts,
                                       " parts of a split model: merge them into one file first "
                                       "(for example with llama-gguf-split --merge)"));
      }
    }
    return {};
  }

  Status read_tensor_table() {
    file.tensors_.reserve(static_cast<std::size_t>(n_tensors));
    for (std::uint64_t i = 0; i < n_tensors; ++i) {
      DW_TRY(read_tensor());
    }
    std::optional<std::string_view> duplicate;
    file.tensors_by_name_ = index_by_name(file.tensors_, kNameOf, duplicate);
    if (duplicate) {
      return data_loss(concat("tensor '", printable(*duplicate), "' occurs twice"));
    }
    return {};
  }

  Status read_tensor() {
    GgufTensor tensor;
    DW_ASSIGN(const std::string_view name, cursor.read_string("a tensor name"));
    if (name.empty() || name.size() > kMaxNameBytes) {
      return data_loss(concat("a tensor name of ", name.size(), " bytes before byte ",
                              cursor.position(), "; 1 to ", kMaxNameBytes, " are allowed"));
    }
    tensor.name = name;
    DW_ASSIGN(const std::uint32_t n_dims, cursor.read<std::uint32_t>("a dimension count"));
    if (n_dims == 0 || n_dims > gguf::kMaxDims) {
      return data_loss(concat("tensor '", printable(name), "' has ", n_dims, " dimensions; 1 to ",
                              gguf::kMaxDims, " are allowed"));
    }
    tensor.shape.resize(n_dims);
    for (std::uint32_t i = n_dims; i-- > 0;) {  // the file has the fastest dimension first
      DW_ASSIGN(tensor.shape[i], cursor.read<std::uint64_t>("a dimension"));
    }
    DW_ASSIGN(const std::uint32_t type_number, cursor.read<std::uint32_t>("a tensor type"));
    const auto type = quant_type(type_number);
    if (!type) {
      return invalid_argument(concat("tensor '", printable(name), "' has type number ", type_number,
                                     ", which is none of ", quant_type_names()));
    }
    tensor.type = *type;
    DW_ASSIGN(const std::uint64_t offset, cursor.read<std::uint64_t>("a tensor offset"));
    DW_ASSIGN(const std::uint64_t size_bytes, tensor_bytes(tensor));
    offsets.push_back(offset);
    sizes_bytes.push_back(size_bytes);
    file.tensors_.push_back(std::move(tensor));
    return {};
  }

  static Result<std::uint64_t> tensor_bytes(const GgufTensor& tensor) {
    const BlockShape block = block_shape(tensor.type);
    const std::uint64_t n_columns = tensor.shape.back();
    if (n_columns % block.n_elements != 0) {
      return data_loss(concat("tensor '", printable(tensor.name), "' has rows of ", n_columns,
                              " elements, no multiple of the ", block.n_elements, " in a block of ",
                              quant_type_name(tensor.type)));
    }
    std::optional<std::uint64_t> n_bytes = multiply(n_columns / block.n_elements, block.n_bytes);
    std::optional<std::uint64_t> n_elements = n_columns;
    for (std::size_t i = 0; i + 1 < tensor.shape.size() && n_bytes && n_elements; ++i) {
      n_bytes = multiply(*n_bytes, tensor.shape[i]);
      n_elements = multiply(*n_elements, tensor.shape[i]);
    }
    if (!n_bytes || !n_elements) {
      return data_loss(
          concat("tensor '", printable(tensor.name), "' has more elements than 64 bits can count"));
    }
    if (*n_bytes == 0) {
      return data_loss(concat("tensor '", printable(tensor.name), "' has a dimension of 0"));
    }
    return *n_bytes;
  }

  Status place_tensors() {
    if (file.tensors_.empty()) {
      return {};
    }
    const std::uint64_t data_start = (cursor.position() + alignment - 1) & ~(alignment - 1);
    const std::uint64_t n_data_bytes =
        data_start <= file.bytes_.size() ? file.bytes_.size() - data_start : 0;
    for (std::size_t i = 0; i < file.tensors_.size(); ++i) {
      GgufTensor& tensor = file.tensors_[i];
      if (offsets[i] % alignment != 0) {
        return data_loss(concat("tensor '", printable(tensor.name), "' starts at offset ",
                                offsets[i], ", no multiple of the alignment ", alignment));
      }
      if (offsets[i] > n_data_bytes || sizes_bytes[i] > n_data_bytes - offsets[i]) {
        return data_loss(concat("tensor '", printable(tensor.name), "' needs ", sizes_bytes[i],
                                " bytes at offset ", offsets[i], ", but the file has only ",
                                n_data_bytes,
                                " bytes of tensor data: it is truncated, fetch it again"));
      }
      tensor.data = file.bytes_.subspan(static_cast<std::size_t>(data_start + offsets[i]),
                                        static_cast<std::size_t>(sizes_bytes[i]));
    }
    return check_overlaps();
  }

  Status check_overlaps() const {
    std::vector<std::uint32_t> order(offsets.size());
    std::iota(order.begin(), order.end(), 0U);
    std::sort(order.begin(), order.end(),
              [&](std::uint32_t a, std::uint32_t b) { return offsets[a] < offsets[b]; });
    for (std::size_t i = 1; i < order.size(); ++i) {
      if (offsets[order[i - 1]] + sizes_bytes[order[i - 1]] > offsets[order[i]]) {
        return data_loss(concat("tensors '", printable(file.tensors_[order[i - 1]].name), "' and '",
                                printable(file.tensors_[order[i]].name), "' overlap in the file"));
      }
    }
    return {};
  }
};

Result<std::unique_ptr<GgufFile>> GgufFile::parse(std::span<const std::byte> bytes) {
  std::unique_ptr<GgufFile> file(
      new GgufFile());  // the constructor is private: make_unique cannot call it
  file->bytes_ = bytes;
  DW_TRY(Loader(*file).load());
  return file;
}

Result<std::unique_ptr<GgufFile>> GgufFile::open(const std::string& path) {
  DW_ASSIGN(MappedFile mapping, MappedFile::open(path));
  auto parsed = parse(mapping.bytes());
  if (!parsed) {
    Error why = std::move(parsed).error();
    why.message = concat("'", path, "': ", why.message);
    return why;
  }
  std::unique_ptr<GgufFile> file = std::move(parsed).value();
  file->mapping_ = std::move(mapping);  // moving it does not move the bytes
  return file;
}

const GgufTensor* GgufFile::find_tensor(std::string_view name) const {
  return find_by_name(tensors_, tensors_by_name_, kNameOf, name);
}

const GgufFile::Value* GgufFile::find_value(std::string_view key) const {
  return find_by_name(values_, values_by_key_, kKeyOf, key);
}

}  // namespace deepwell::engine

// Laying out a GGUF file: header, keys, tensor table, then each tensor's data at the next multiple
// of 32.
#include "engine/gguf/gguf_writer.hpp"

#include <cstring>
#include <type_traits>
#include <utility>

#include "base/concat.hpp"
#include "base/file.hpp"

namespace deepwell::engine {
namespace {

using gguf::ValueType;

template <class T>
requires std::is_arithmetic_v<T>
void put(std::vector<std::byte>& out, T value) {
  const std::size_t at = out.size();
  out.resize(at + sizeof value);
  std::memcpy(out.data() + at, &value, sizeof value);
}

void put_bytes(std::vector<std::byte>& out, std::span<const std::byte> bytes) {
  out.insert(out.end(), bytes.begin(), bytes.end());
}

void put_text(std::vector<std::byte>& out, std::string_view text) {
  put(out, static_cast<std::uint64_t>(text.size()));
  put_bytes(out, std::as_bytes(std::span(text)));
}

void put_key(std::vector<std::byte>& out, std::string_view key, ValueType type) {
  put_text(out, key);
  put(out, static_cast<std::uint32_t>(type));
}

void put_array_head(std::vector<std::byte>& out, std::string_view key, ValueType element,
                    std::size_t n_elements) {
  put_key(out, key, ValueType::kArray);
  put(out, static_cast<std::uint32_t>(element));
  put(out, static_cast<std::uint64_t>(n_elements));
}

std::uint64_t aligned(std::uint64_t n_bytes) {
  return (n_bytes + gguf::kDefaultAlignment - 1) / gguf::kDefaultAlignment *
         gguf::kDefaultAlignment;
}

}  // namespace

void GgufWriter::add_uint32(std::string_view key, std::uint32_t value) {
  put_key(values_, key, ValueType::kUint32);
  put(values_, value);
  ++n_values_;
}

void GgufWriter::add_uint64(std::string_view key, std::uint64_t value) {
  put_key(values_, key, ValueType::kUint64);
  put(values_, value);
  ++n_values_;
}

void GgufWriter::add_int32(std::string_view key, std::int32_t value) {
  put_key(values_, key, ValueType::kInt32);
  put(values_, value);
  ++n_values_;
}

void GgufWriter::add_float32(std::string_view key, float value) {
  put_key(values_, key, ValueType::kFloat32);
  put(values_, value);
  ++n_values_;
}

void GgufWriter::add_bool(std::string_view key, bool value) {
  put_key(values_, key, ValueType::kBool);
  put(values_, static_cast<std::uint8_t>(value));
  ++n_values_;
}

void GgufWriter::add_string(std::string_view key, std::string_view value) {
  put_key(values_, key, ValueType::kString);
  put_text(values_, value);
  ++n_values_;
}

void GgufWriter::add_strings(std::string_view key, std::span<const std::string> values) {
  put_array_head(values_, key, ValueType::kString, values.size());
  for (const std::string& value : values) {
    put_text(values_, value);
  }
  ++n_values_;
}

void GgufWriter::add_int32s(std::string_view key, std::span<const std::int32_t> values) {
  put_array_head(values_, key, ValueType::kInt32, values.size());
  put_bytes(values_, std::as_bytes(values));
  ++n_values_;
}

void GgufWriter::add_float32s(std::string_view key, std::span<const float> values) {
  put_array_head(values_, key, ValueType::kFloat32, values.size());
  put_bytes(values_, std::as_bytes(values));
  ++n_values_;
}

void GgufWriter::add_raw(std::string_view key, ValueType type, std::span<const std::byte> payload) {
  put_key(values_, key, type);
  put_bytes(values_, payload);
  ++n_values_;
}

Status GgufWriter::add_tensor(std::string_view name, QuantType type,
                              std::span<const std::uint64_t> shape,
                              std::span<const std::byte> data) {
  if (shape.empty() || shape.size() > gguf::kMaxDims) {
    return invalid_argument(concat("tensor '", name, "' has ", shape.size(), " dimensions; 1 to ",
                                   gguf::kMaxDims, " are allowed"));
  }
  const BlockShape block = block_shape(type);
  std::uint64_t n_bytes = shape.back() / block.n_elements * block.n_bytes;
  for (const std::uint64_t n : shape.first(shape.size() - 1)) {
    n_bytes *= n;
  }
  if (shape.back() % block.n_elements != 0 || n_bytes != data.size() || n_bytes == 0) {
    return invalid_argument(concat("tensor '", name, "' of type ", quant_type_name(type), " has ",
                                   data.size(), " bytes and rows of ", shape.back(),
                                   " elements; its shape asks for ", n_bytes, " bytes"));
  }
  tensors_.push_back({std::string(name), type, {shape.begin(), shape.end()}, data});
  return {};
}

std::vector<std::byte> GgufWriter::header() const {
  std::vector<std::byte> out;
  put_bytes(out, std::as_bytes(std::span(gguf::kMagic)));
  put(out, gguf::kVersion);
  put(out, static_cast<std::uint64_t>(tensors_.size()));
  put(out, n_values_);
  put_bytes(out, values_);
  std::uint64_t offset = 0;
  for (const Tensor& tensor : tensors_) {
    put_text(out, tensor.name);
    put(out, static_cast<std::uint32_t>(tensor.shape.size()));
    for (std::size_t i = tensor.shape.size();
         i-- > 0;) {  // the file has the fastest dimension first
      put(out, tensor.shape[i]);
    }
    put(out, static_cast<std::uint32_t>(tensor.type));
    put(out, offset);
    offset = aligned(offset + tensor.data.size());
  }
  out.resize(static_cast<std::size_t>(aligned(out.size())));
  return out;
}

std::vector<std::byte> GgufWriter::bytes() const {
  std::vector<std::byte> out = header();
  for (const Tensor& tensor : tensors_) {
    put_bytes(out, tensor.data);
    out.resize(static_cast<std::size_t>(aligned(out.size())));
  }
  return out;
}

Status GgufWriter::write(const std::string& path) const {
  const std::string unfinished = concat(path, ".part");
  const auto write_all = [&]() -> Status {
    DW_ASSIGN(FileWriter file, FileWriter::open(unfinished, FileWriter::Mode::kTruncate));
    const auto append = [&file](std::span<const std::byte> bytes) {
      return file.write({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    };
    DW_TRY(append(header()));
    constexpr std::byte kPadding[gguf::kDefaultAlignment] = {};
    for (const Tensor& tensor : tensors_) {
      DW_TRY(append(tensor.data));
      DW_TRY(append(std::span(kPadding).first(
          static_cast<std::size_t>(aligned(tensor.data.size()) - tensor.data.size()))));
    }
    DW_TRY(file.sync());
    return rename_file(unfinished, path);
  };
  Status written = write_all();
  if (!written) {  // why writing failed matters more than whether the rest could be removed
    [[maybe_unused]] const Status removed = remove_file(unfinished);
  }
  return written;
}

}  // namespace deepwell::engine

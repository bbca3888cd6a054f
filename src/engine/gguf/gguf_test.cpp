// The reader against files of the PyPI package gguf, the writer against the reader, and every
// refusal.
#include "engine/gguf/gguf.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

#include "base/concat.hpp"
#include "engine/gguf/gguf_writer.hpp"
#include "engine/gguf/walk.hpp"

namespace deepwell::engine {
namespace {

using gguf::ValueType;
using Bytes = std::vector<std::byte>;

const std::string kGoldenDir = DEEPWELL_SOURCE_DIR "/tests/golden/gguf/";

Bytes read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> content((std::istreambuf_iterator<char>(file)), {});
  const auto* first = reinterpret_cast<const std::byte*>(content.data());
  return {first, first + content.size()};
}

/// A temporary path of this process, removed with the object.
struct TemporaryPath {
  explicit TemporaryPath(std::string_view name)
      : path(concat(testing::TempDir(), "deepwell_gguf_", static_cast<int>(::getpid()), "_",
                    name)) {}
  ~TemporaryPath() { ::unlink(path.c_str()); }
  std::string path;
};

TEST(GgufFile, ReadsEveryValueTypeOfTheReferenceWriter) {
  const auto opened = GgufFile::open(kGoldenDir + "all_types.gguf");
  ASSERT_TRUE(opened) << opened.error().message;
  const GgufFile& file = **opened;
  EXPECT_EQ(file.version(), 3U);
  EXPECT_EQ(file.keys().size(), 18U);
  EXPECT_EQ(*file.get_uint("t.uint8"), 200U);
  EXPECT_EQ(*file.get_int("t.int8"), -100);
  EXPECT_EQ(*file.get_uint("t.uint16"), 60000U);
  EXPECT_EQ(*file.get_int("t.int16"), -30000);
  EXPECT_EQ(*file.get_uint("t.uint32"), 4000000000U);
  EXPECT_EQ(*file.get_int("t.uint32"), 4000000000);
  EXPECT_EQ(*file.get_int("t.int32"), -2000000000);
  EXPECT_EQ(*file.get_uint("t.uint64"), std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(*file.get_int("t.int64"), std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(*file.get_float("t.float32"), static_cast<double>(0.1F));
  EXPECT_EQ(*file.get_float("t.float64"), 0.1);
  EXPECT_EQ(*file.get_bool("t.bool"), true);
  EXPECT_EQ(*file.get_string("t.string"), "水 \"quoted\"\n");
  EXPECT_EQ(*file.get_ints("t.ints"), (std::vector<std::int64_t>{1, -2, 3}));
  EXPECT_EQ(*file.get_floats("t.floats"), (std::vector<double>{0.5, -1.5}));
  EXPECT_EQ(*file.get_strings("t.strings"), (std::vector<std::string_view>{"a", "", "中文"}));
}

TEST(GgufFile, ReadsTensorsWithTheSlowestDimensionFirst) {
  const auto opened = GgufFile::open(kGoldenDir + "all_types.gguf");
  ASSERT_TRUE(opened) << opened.error().message;
  const GgufFile& file = **opened;
  EXPECT_EQ(file.tensors().size(), 17U);
  const GgufTensor* cube = file.find_tensor("w.cube");
  ASSERT_NE(cube, nullptr);
  EXPECT_EQ(cube->shape, (std::vector<std::uint64_t>{2, 3, 4}));
  EXPECT_EQ(cube->n_elements(), 24U);
  for (int i = 0; i < 24; ++i) {
    float value;
    std::memcpy(&value, cube->data.data() + i * 4, 4);
    EXPECT_EQ(value, static_cast<float>(i));
  }
  for (const QuantType type :
       {QuantType::Q4_K, QuantType::Q6_K, QuantType::Q5_0, QuantType::BF16}) {
    const GgufTensor* tensor = file.find_tensor(concat("w.", quant_type_name(type)));
    ASSERT_NE(tensor, nullptr);
    EXPECT_EQ(tensor->type, type);
    EXPECT_EQ(tensor->shape, (std::vector<std::uint64_t>{2, 256}));
    EXPECT_EQ(tensor->data.size(), 512 / block_shape(type).n_elements * block_shape(type).n_bytes);
  }
  EXPECT_EQ(file.find_tensor("w.none"), nullptr);
}

TEST(GgufFile, ReadsARealModelsMetadata) {
  const auto opened = GgufFile::open(kGoldenDir + "like_smollm2.gguf");
  ASSERT_TRUE(opened) << opened.error().message;
  const GgufFile& file = **opened;
  EXPECT_EQ(*file.get_string("general.architecture"), "llama");
  EXPECT_EQ(*file.get_uint("llama.attention.head_count_kv"), 3U);
  EXPECT_EQ(*file.get_bool("tokenizer.ggml.add_bos_token"), false);
  EXPECT_EQ(file.get_strings("tokenizer.ggml.tokens")->at(1), "<|im_start|>");
  EXPECT_TRUE(file.has("tokenizer.chat_template"));
}

TEST(GgufFile, LeavesBytesOfOthersAloneWhenItReleasesPages) {
  const Bytes golden = read_bytes(kGoldenDir + "all_types.gguf");
  const Bytes bytes = golden;
  const auto parsed = GgufFile::parse(bytes);
  ASSERT_TRUE(parsed) << parsed.error().message;
  (*parsed)->release_pages();
  EXPECT_EQ(bytes, golden);
}

TEST(GgufFile, ReadsVersion2) {
  Bytes bytes = read_bytes(kGoldenDir + "all_types.gguf");
  bytes[4] = std::byte{2};
  const auto parsed = GgufFile::parse(bytes);
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_EQ((*parsed)->version(), 2U);
}

TEST(GgufFile, RefusesToReadAValueAsWhatItIsNot) {
  const auto opened = GgufFile::open(kGoldenDir + "all_types.gguf");
  ASSERT_TRUE(opened) << opened.error().message;
  const GgufFile& file = **opened;
  EXPECT_EQ(file.get_uint("nope").error().code, Code::kNotFound);
  EXPECT_EQ(file.get_uint("nope").error().message, "the model file has no key 'nope'");
  EXPECT_EQ(file.get_uint("t.int8").error().message,
            "key 't.int8' is -100, which does not fit an unsigned number");
  EXPECT_EQ(file.get_int("t.uint64").error().code, Code::kInvalidArgument);
  EXPECT_EQ(file.get_uint("t.float32").error().message,
            "key 't.float32' is of type float32 where an integer is wanted");
  EXPECT_EQ(file.get_uint("t.ints").error().message,
            "key 't.ints' is an array of int32 where an integer is wanted");
  EXPECT_FALSE(file.get_float("t.uint8"));
  EXPECT_FALSE(file.get_bool("t.uint8"));
  EXPECT_FALSE(file.get_string("t.bool"));
  EXPECT_FALSE(file.get_strings("t.string"));
  EXPECT_FALSE(file.get_strings("t.ints"));
  EXPECT_FALSE(file.get_ints("t.floats"));
  EXPECT_FALSE(file.get_floats("t.ints"));
}

TEST(GgufFile, DescribesEveryKindOfValue) {
  const auto opened = GgufFile::open(kGoldenDir + "all_types.gguf");
  ASSERT_TRUE(opened) << opened.error().message;
  const GgufFile& file = **opened;
  EXPECT_EQ(file.describe("t.uint64"), "18446744073709551615");
  EXPECT_EQ(file.describe("t.int64"), "-9223372036854775808");
  EXPECT_EQ(file.describe("t.float32"), "0.1");
  EXPECT_EQ(file.describe("t.bools"), "[true, false]");
  EXPECT_EQ(file.describe("t.string"), "\"水 \\\"quoted\\\"\\n\"");
  EXPECT_EQ(file.describe("t.strings"), "[\"a\", \"\", \"中文\"]");
  EXPECT_EQ(file.describe("t.many"), "[0, 1, 2, 3, 4, 5, ... 100 in all]");
  EXPECT_EQ(file.describe("nope"), "");
}

TEST(GgufFile, SaysWhyItCannotOpen) {
  EXPECT_EQ(GgufFile::open("/nonexistent/model.gguf").error().code, Code::kNotFound);
  EXPECT_FALSE(GgufFile::open("/"));
  const TemporaryPath empty("empty");
  std::ofstream(empty.path).flush();
  const auto opened = GgufFile::open(empty.path);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Code::kDataLoss);
  EXPECT_NE(opened.error().message.find(empty.path), std::string::npos);
}

TEST(GgufWriter, RoundTripsThroughTheReaderInMemoryAndOnDisk) {
  const std::vector<std::string> words = {"one", "", "三"};
  const std::vector<std::int32_t> ints = {-1, 7};
  const std::vector<float> floats = {0.25F};
  const Bytes small(3 * 4, std::byte{1});
  const Bytes large(2 * 144, std::byte{2});
  GgufWriter writer;
  writer.add_uint32("a", 1);
  writer.add_uint64("b", 1ULL << 40);
  writer.add_int32("c", -5);
  writer.add_float32("d", 1.5F);
  writer.add_bool("e", true);
  writer.add_string("f", "text");
  writer.add_strings("g", words);
  writer.add_int32s("h", ints);
  writer.add_float32s("i", floats);
  ASSERT_TRUE(writer.add_tensor("small", QuantType::F32, std::array<std::uint64_t, 1>{3}, small));
  ASSERT_TRUE(
      writer.add_tensor("large", QuantType::Q4_K, std::array<std::uint64_t, 2>{2, 256}, large));

  const TemporaryPath on_disk("round_trip");
  const Status written = writer.write(on_disk.path);
  ASSERT_TRUE(written) << written.error().message;
  const Bytes bytes = writer.bytes();
  EXPECT_EQ(read_bytes(on_disk.path), bytes);

  const auto opened = GgufFile::open(on_disk.path);
  ASSERT_TRUE(opened) << opened.error().message;
  const GgufFile& file = **opened;
  file.release_pages();
  EXPECT_EQ(file.file_bytes(), bytes.size());
  EXPECT_EQ(*file.get_uint("a"), 1U);
  EXPECT_EQ(*file.get_uint("b"), 1ULL << 40);
  EXPECT_EQ(*file.get_int("c"), -5);
  EXPECT_EQ(*file.get_float("d"), 1.5);
  EXPECT_EQ(*file.get_bool("e"), true);
  EXPECT_EQ(*file.get_string("f"), "text");
  EXPECT_EQ(file.get_strings("g")->at(2), "三");
  EXPECT_EQ(file.get_ints("h")->at(0), -1);
  EXPECT_EQ(file.get_floats("i")->at(0), 0.25);
  const GgufTensor* tensor = file.find_tensor("large");
  ASSERT_NE(tensor, nullptr);
  EXPECT_EQ(Bytes(tensor->data.begin(), tensor->data.end()), large);
  EXPECT_EQ((tensor->data.data() - file.find_tensor("small")->data.data()), 32);
}

TEST(GgufWriter, RefusesDataThatDoesNotFollowFromTheShape) {
  const Bytes data(100);
  GgufWriter writer;
  EXPECT_FALSE(writer.add_tensor("short", QuantType::F32, std::array<std::uint64_t, 1>{26}, data));
  EXPECT_FALSE(
      writer.add_tensor("ragged", QuantType::Q8_0, std::array<std::uint64_t, 1>{33}, data));
  EXPECT_FALSE(writer.add_tensor("flat", QuantType::F32, std::span<const std::uint64_t>(), data));
  EXPECT_TRUE(writer.add_tensor("right", QuantType::F32, std::array<std::uint64_t, 2>{5, 5}, data));
}

/// Lays out files field by field, right or wrong.
struct Raw {
  Bytes bytes;

  template <class T>
  Raw& put(T value) {
    const std::size_t at = bytes.size();
    bytes.resize(at + sizeof value);
    std::memcpy(bytes.data() + at, &value, sizeof value);
    return *this;
  }
  Raw& u32(std::uint32_t value) { return put(value); }
  Raw& u64(std::uint64_t value) { return put(value); }
  Raw& text(std::string_view value) {
    u64(value.size());
    const auto raw = std::as_bytes(std::span(value));
    bytes.insert(bytes.end(), raw.begin(), raw.end());
    return *this;
  }
  Raw& header(std::uint64_t n_tensors, std::uint64_t n_keys) {
    for (const char c : gguf::kMagic) {
      put(c);
    }
    return u32(3).u64(n_tensors).u64(n_keys);
  }
  Raw& key(std::string_view name, ValueType type) {
    return text(name).u32(static_cast<std::uint32_t>(type));
  }
  Raw& tensor(std::string_view name, std::vector<std::uint64_t> dims, std::uint32_t type,
              std::uint64_t offset) {
    text(name).u32(static_cast<std::uint32_t>(dims.size()));
    for (const std::uint64_t dim : dims) {
      u64(dim);
    }
    return u32(type).u64(offset);
  }
  Raw& pad(std::size_t n_bytes) {
    bytes.resize(bytes.size() + n_bytes);
    return *this;
  }
};

struct Refusal {
  const char* name;
  Code code;
  std::string message_part;
  Raw raw;
};

std::vector<Refusal> header_refusals() {
  constexpr std::uint64_t kHuge = 1ULL << 60;
  return {
      {"no magic", Code::kInvalidArgument, "starts with 'ABCD'",
       Raw().u32(0x44434241).u32(3).pad(64)},
      {"nothing", Code::kDataLoss, "the file ends inside the magic", Raw()},
      {"cut short", Code::kDataLoss, "the file ends inside the tensor count",
       Raw().u32(0x46554747).u32(3)},
      {"version 0", Code::kInvalidArgument, "version 0", Raw().u32(0x46554747).u32(0).pad(64)},
      {"version 1", Code::kInvalidArgument, "version 1", Raw().u32(0x46554747).u32(1).pad(64)},
      {"version 4", Code::kInvalidArgument, "version 4", Raw().u32(0x46554747).u32(4).pad(64)},
      {"big-endian", Code::kInvalidArgument, "big-endian",
       Raw().u32(0x46554747).u32(0x03000000).pad(64)},
      {"key count", Code::kDataLoss, "claims 1152921504606846976 keys",
       Raw().header(0, kHuge).pad(64)},
      {"tensor count", Code::kDataLoss, "claims 1152921504606846976 tensors",
       Raw().header(kHuge, 0).pad(64)},
      {"key length", Code::kDataLoss, "the file ends inside a key",
       Raw().header(0, 1).u64(kHuge).pad(64)},
      {"empty key", Code::kDataLoss, "a key of 0 bytes",
       Raw().header(0, 1).text("").u32(0).pad(64)},
      {"value type", Code::kInvalidArgument, "key 'k' has the unknown value type 13",
       Raw().header(0, 1).key("k", static_cast<ValueType>(13)).pad(64)},
      {"string length", Code::kDataLoss, "in key 'k': the file ends inside a string",
       Raw().header(0, 1).key("k", ValueType::kString).u64(kHuge).pad(64)},
      {"string length that wraps", Code::kDataLoss, "the file ends inside a string",
       Raw().header(0, 1).key("k", ValueType::kString).u64(~0ULL).pad(64)},
      {"array type", Code::kInvalidArgument, "unknown value type 99",
       Raw().header(0, 1).key("k", ValueType::kArray).u32(99).u64(1).pad(64)},
      {"array length", Code::kDataLoss,
       "claims an array of 1152921504606846976 elements of type uint64",
       Raw().header(0, 1).key("k", ValueType::kArray).u32(10).u64(kHuge).pad(64)},
      {"bool", Code::kDataLoss, "neither 0 nor 1",
       Raw().header(0, 1).key("k", ValueType::kBool).put('\2').pad(64)},
      {"twice", Code::kDataLoss, "key 'k' occurs twice",
       Raw()
           .header(0, 2)
           .key("k", ValueType::kUint32)
           .u32(1)
           .key("k", ValueType::kUint32)
           .u32(1)
           .pad(64)},
      {"alignment 0", Code::kDataLoss, "power of two",
       Raw().header(0, 1).key(gguf::kAlignmentKey, ValueType::kUint32).u32(0).pad(64)},
      {"alignment 48", Code::kDataLoss, "is 48",
       Raw().header(0, 1).key(gguf::kAlignmentKey, ValueType::kUint32).u32(48)},
      {"alignment text", Code::kInvalidArgument, "general.alignment",
       Raw().header(0, 1).key(gguf::kAlignmentKey, ValueType::kString).text("32")},
      {"split", Code::kInvalidArgument, "merge them into one file",
       Raw().header(0, 1).key("split.count", ValueType::kUint16).put(std::uint16_t{3}).pad(64)},
  };
}

std::vector<Refusal> tensor_refusals() {
  constexpr std::uint64_t kHuge = 1ULL << 60;
  return {
      {"no dimension", Code::kDataLoss, "has 0 dimensions",
       Raw().header(1, 0).tensor("t", {}, 0, 0).pad(256)},
      {"five dimensions", Code::kDataLoss, "has 5 dimensions",
       Raw().header(1, 0).tensor("t", {1, 1, 1, 1, 1}, 0, 0).pad(256)},
      {"zero dimension", Code::kDataLoss, "a dimension of 0",
       Raw().header(1, 0).tensor("t", {4, 0}, 0, 0).pad(256)},
      {"zero columns", Code::kDataLoss, "a dimension of 0",
       Raw().header(1, 0).tensor("t", {0, 4}, 0, 0).pad(256)},
      {"zero and huge", Code::kDataLoss, "tensor 't'",
       Raw().header(1, 0).tensor("t", {kHuge, kHuge, 0}, 0, 0).pad(256)},
      {"overflow", Code::kDataLoss, "more elements than",
       Raw().header(1, 0).tensor("t", {kHuge, kHuge}, 0, 0).pad(256)},
      {"overflow to small", Code::kDataLoss, "more elements than",
       Raw().header(1, 0).tensor("t", {1ULL << 32, 1ULL << 30}, 0, 0).pad(256)},
      {"half a block", Code::kDataLoss, "no multiple of the 32 in a block of Q8_0",
       Raw().header(1, 0).tensor("t", {33}, 8, 0).pad(256)},
      {"type 4", Code::kInvalidArgument, "tensor 't' has type number 4",
       Raw().header(1, 0).tensor("t", {32}, 4, 0).pad(256)},
      {"type 1000", Code::kInvalidArgument, "type number 1000",
       Raw().header(1, 0).tensor("t", {32}, 1000, 0).pad(256)},
      {"unaligned", Code::kDataLoss, "no multiple of the alignment 32",
       Raw().header(1, 0).tensor("t", {4}, 0, 16).pad(256)},
      {"past the end", Code::kDataLoss, "it is truncated",
       Raw().header(1, 0).tensor("t", {1000}, 0, 0).pad(256)},
      {"offset past the end", Code::kDataLoss, "offset 1024",
       Raw().header(1, 0).tensor("t", {4}, 0, 1024).pad(256)},
      {"offset that wraps", Code::kDataLoss, "truncated",
       Raw().header(1, 0).tensor("t", {16}, 0, ~std::uint64_t{31}).pad(256)},
      {"no data at all", Code::kDataLoss, "truncated", Raw().header(1, 0).tensor("t", {4}, 0, 0)},
      {"overlap", Code::kDataLoss, "tensors 'b' and 'a' overlap",
       Raw().header(2, 0).tensor("a", {16}, 0, 32).tensor("b", {16}, 0, 0).pad(256)},
      {"same name", Code::kDataLoss, "tensor 'a' occurs twice",
       Raw().header(2, 0).tensor("a", {8}, 0, 32).tensor("a", {8}, 0, 0).pad(256)},
      {"long name", Code::kDataLoss, "a tensor name of 2000 bytes",
       Raw().header(1, 0).tensor(std::string(2000, 'x'), {8}, 0, 0).pad(256)},
      {"control bytes in a message", Code::kDataLoss, "tensor 'a\\x01\\xff' has 0 dimensions",
       Raw().header(1, 0).tensor("a\x01\xff", {}, 0, 0).pad(256)},
  };
}

TEST(GgufFile, RefusesEveryInconsistencyWithAMessageThatNamesIt) {
  for (const auto& refusals : {header_refusals(), tensor_refusals()}) {
    for (const Refusal& refusal : refusals) {
      SCOPED_TRACE(refusal.name);
      const auto parsed = GgufFile::parse(refusal.raw.bytes);
      ASSERT_FALSE(parsed);
      EXPECT_EQ(code_name(parsed.error().code), code_name(refusal.code)) << parsed.error().message;
      EXPECT_NE(parsed.error().message.find(refusal.message_part), std::string::npos)
          << parsed.error().message;
    }
  }
}

TEST(GgufFile, PassesNestedArraysButNotEndlessOnes) {
  const auto nested = [](int depth) {
    Raw raw = Raw().header(0, 1).key("k", ValueType::kArray);
    for (int i = 1; i < depth; ++i) {
      raw.u32(static_cast<std::uint32_t>(ValueType::kArray)).u64(1);
    }
    return raw.u32(static_cast<std::uint32_t>(ValueType::kUint8)).u64(1).pad(64);
  };
  const Raw two_deep = nested(2);
  const auto parsed = GgufFile::parse(two_deep.bytes);
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_EQ((*parsed)->describe("k"), "[[...]]");
  EXPECT_FALSE((*parsed)->get_ints("k"));
  const auto refused = GgufFile::parse(nested(100).bytes);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("nests arrays"), std::string::npos);
}

TEST(GgufFile, TakesAFileWithoutTensorsAndAnotherAlignment) {
  const Raw empty = Raw().header(0, 0);
  ASSERT_TRUE(GgufFile::parse(empty.bytes));
  Raw wide = Raw()
                 .header(1, 1)
                 .key(gguf::kAlignmentKey, ValueType::kUint32)
                 .u32(4096)
                 .tensor("t", {4}, 0, 0);
  wide.pad(4096 - wide.bytes.size()).u32(0x3F800000).pad(12);
  const auto parsed = GgufFile::parse(wide.bytes);
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_EQ((*parsed)->tensors()[0].data.data(), wide.bytes.data() + 4096);
}

}  // namespace
}  // namespace deepwell::engine

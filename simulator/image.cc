#include "image.h"

#include <cstring>

#include "api.h"

namespace simulator::driver {

namespace {

constexpr uint32_t kFatbinMagic = 0xBA55ED50;
constexpr uint32_t kWrapperMagic = 0x466243B1;  // what nvcc puts around a fatbin in an object file
constexpr uint64_t kMostBytes = uint64_t(1) << 30;
constexpr uint64_t kCompressed = 0x2000 | 0x8000;  // lz4, zstd

struct Header {
  uint32_t magic;
  uint16_t version, header_bytes;
  uint64_t bytes;
};

struct Entry {
  uint16_t kind, version;  // 1: PTX, 2: cubin
  uint32_t header_bytes;
  uint64_t bytes;
  uint32_t compressed_bytes, options;
  uint16_t minor, major;
  uint32_t arch;
  uint32_t name, name_bytes;
  uint64_t flags, zero, plain_bytes;
};
static_assert(sizeof(Header) == 16 && sizeof(Entry) == 64);

struct Wrapper {
  uint32_t magic, version;
  const void* data;
  const void* more;
};

Loaded refuse(int result, const std::string& log) {
  Loaded loaded;
  loaded.result = result;
  loaded.log = log;
  return loaded;
}

std::string dotted(unsigned version) {
  return std::to_string(version / 10) + "." + std::to_string(version % 10);
}

// The number behind a directive at the head of PTX text, as 90 for ".version 9.0" and ".target sm_90a"; 0 if absent.
unsigned directive(const std::string& text, const char* name, bool& specific) {
  const size_t at = text.find(name);
  if (at == std::string::npos) return 0;
  size_t i = text.find_first_of("0123456789\n", at);
  unsigned value = 0;
  for (; i < text.size() && ((text[i] >= '0' && text[i] <= '9') || text[i] == '.'); ++i) {
    if (text[i] != '.') value = value * 10 + unsigned(text[i] - '0');
  }
  specific = i < text.size() && (text[i] == 'a' || text[i] == 'f');
  return value;
}

Loaded load_ptx(const char* text, size_t bytes, Memory& memory, int arch, unsigned ptx) {
  // Whether the driver would take it comes before whether the machine does.
  const std::string head(text, strnlen(text, bytes < 4096 ? bytes : 4096));
  bool specific = false, ignored = false;
  const unsigned version = directive(head, ".version", ignored), target = directive(head, ".target", specific);
  if (version > ptx) {
    return refuse(kERROR_UNSUPPORTED_PTX_VERSION, "ptxas application ptx input, fatal: Unsupported .version " +
                                                      dotted(version) + "; current version is '" + dotted(ptx) + "'");
  }
  if (int(target) > arch || (specific && int(target) != arch)) {
    return refuse(kERROR_NO_BINARY_FOR_GPU, "PTX for sm_" + std::to_string(target) + (specific ? "a" : "") +
                                                " does not run on sm_" + std::to_string(arch));
  }
  Loaded loaded;
  loaded.module = Module::parse(text, bytes, memory, loaded.log, loaded.result);
  if (loaded.module == nullptr && loaded.result == 0) loaded.result = kERROR_INVALID_PTX;
  if (loaded.module != nullptr) loaded.result = 0;
  return loaded;
}

// The PTX entry with the highest architecture that this device takes, as the driver chooses when no cubin fits.
Loaded load_fatbin(const unsigned char* image, Memory& memory, int arch, unsigned ptx) {
  Header header;
  std::memcpy(&header, image, sizeof header);
  if (header.version != 1 || header.header_bytes < sizeof header || header.bytes > kMostBytes) {
    return refuse(kERROR_INVALID_IMAGE, "the fatbin's header is not one that is known");
  }
  const unsigned char* at = image + header.header_bytes;
  const unsigned char* const end = at + header.bytes;
  const unsigned char* best = nullptr;
  Entry chosen = {};
  bool compressed = false, cubin = false;
  while (size_t(end - at) >= sizeof(Entry)) {
    Entry entry;
    std::memcpy(&entry, at, sizeof entry);
    if (entry.header_bytes < sizeof entry || entry.header_bytes > size_t(end - at) ||
        entry.bytes > size_t(end - at) - entry.header_bytes) {
      return refuse(kERROR_INVALID_IMAGE, "an entry of the fatbin reaches past its end");
    }
    const bool packed = (entry.flags & kCompressed) != 0;
    cubin = cubin || entry.kind == 2;
    if (entry.kind == 1 && int(entry.arch) <= arch && (best == nullptr || entry.arch > chosen.arch)) {
      if (packed) {
        compressed = true;
      } else {
        best = at + entry.header_bytes;
        chosen = entry;
      }
    }
    at += entry.header_bytes + entry.bytes;
  }
  if (best != nullptr) return load_ptx(reinterpret_cast<const char*>(best), chosen.bytes, memory, arch, ptx);
  return refuse(kERROR_NO_BINARY_FOR_GPU,
                compressed
                    ? "the fatbin's PTX is compressed, which the simulator does not read (fatbinary --no-compress)"
                : cubin ? "the fatbin has machine code only, which the simulator does not run"
                        : "the fatbin has nothing for sm_" + std::to_string(arch));
}

}  // namespace

Loaded load_image(const void* image, Memory& memory, int arch, unsigned ptx) {
  const auto* bytes = static_cast<const unsigned char*>(image);
  // Text may be shorter than a magic number.
  if (bytes[0] == 0) return refuse(kERROR_INVALID_IMAGE, "the image is empty");
  if (bytes[0] == 0x7f && bytes[1] == 'E' && bytes[2] == 'L' && bytes[3] == 'F') {
    return refuse(kERROR_NO_BINARY_FOR_GPU, "the image is machine code, which the simulator does not run");
  }
  const auto starts = [&](uint32_t magic) {
    for (int i = 0; i < 4; ++i) {
      if (bytes[i] != (magic >> (8 * i) & 0xff)) return false;
    }
    return true;
  };
  if (starts(kWrapperMagic)) {
    Wrapper wrapper;
    std::memcpy(&wrapper, image, sizeof wrapper);
    return load_image(wrapper.data, memory, arch, ptx);
  }
  if (starts(kFatbinMagic)) return load_fatbin(bytes, memory, arch, ptx);
  const auto* text = static_cast<const char*>(image);
  const size_t length = strnlen(text, kMostBytes);
  if (std::string(text, length < 4096 ? length : 4096).find(".version") == std::string::npos) {
    return refuse(kERROR_INVALID_IMAGE, "the image is neither PTX nor a fatbin nor a cubin");
  }
  return load_ptx(text, length, memory, arch, ptx);
}

}  // namespace simulator::driver

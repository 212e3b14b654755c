#include "symbols.h"

#include <dlfcn.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

namespace simulator {

void hide_symbol(void* address) {
  Dl_info info;
  const ElfW(Sym)* entry = nullptr;
  if (dladdr1(address, &info, reinterpret_cast<void**>(const_cast<ElfW(Sym)**>(&entry)), RTLD_DL_SYMENT) == 0 ||
      entry == nullptr) {
    return;
  }
  const uintptr_t page = uintptr_t(sysconf(_SC_PAGESIZE));
  const uintptr_t begin = reinterpret_cast<uintptr_t>(entry) & ~(page - 1);
  const size_t bytes = reinterpret_cast<uintptr_t>(entry) + sizeof *entry - begin;
  if (mprotect(reinterpret_cast<void*>(begin), bytes, PROT_READ | PROT_WRITE) != 0) return;
  const_cast<ElfW(Sym)*>(entry)->st_value = 0;
  mprotect(reinterpret_cast<void*>(begin), bytes, PROT_READ);
}

}  // namespace simulator

// Entries that a stand-in is told to lack.
#pragma once

namespace simulator {

// Takes a name out of its library's own symbol table, as if it had never been exported. Before anyone looks for it.
void hide_symbol(void* address);

}  // namespace simulator

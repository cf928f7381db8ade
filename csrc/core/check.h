// Precondition checks. Every message names the argument, the value found and what was expected,
// because the user sees nothing else of C++.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace avts {

// Becomes a Python ValueError at the binding.
class ArgumentError : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

template <typename Value, typename... Expected>
inline void check_argument(bool ok, const char* name, const Value& found,
                           const Expected&... expected) {
  if (ok) return;
  std::ostringstream message;
  message << name << " is " << found << ", expected ";
  (message << ... << expected);
  throw ArgumentError(message.str());
}

}  // namespace avts

// The whole test framework: a failed expectation prints where and what, and ends the program.
#pragma once

#include <cstdio>
#include <cstdlib>

#define EXPECT(condition)                                                           \
  do {                                                                              \
    if (!(condition)) {                                                             \
      std::fprintf(stderr, "%s:%d: expected %s\n", __FILE__, __LINE__, #condition); \
      std::exit(1);                                                                 \
    }                                                                               \
  } while (0)

// `statement` must throw `exception`.
#define EXPECT_THROW(statement, exception) \
  do {                                     \
    bool thrown = false;                   \
    try {                                  \
      statement;                           \
    } catch (const exception&) {           \
      thrown = true;                       \
    }                                      \
    EXPECT(thrown && #exception);          \
  } while (0)

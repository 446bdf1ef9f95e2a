// The one place where CAF's test runner is instantiated.
#include <caf/test/unit_test_impl.hpp>

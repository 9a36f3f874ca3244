#include "io/up.h"
#include "base/up.h"
#include "testing/double.h"

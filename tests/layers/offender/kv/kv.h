#include "base/up.h"

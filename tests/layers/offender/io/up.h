#include "testing/double.h"
#include "up.h"

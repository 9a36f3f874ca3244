// s3/asio.h -- Boost.Asio with coroutines. Its release of Debian 12 (1.74) uses std::exchange without including <utility>, and
// does not see that Clang has them.
#pragma once

#ifdef __clang__
#define BOOST_ASIO_HAS_CO_AWAIT 1
#endif

#include <utility>

#include <boost/asio.hpp>

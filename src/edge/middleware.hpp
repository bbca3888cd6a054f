// The middleware list: what happens to every request before and after its endpoint, in one place
// and order.
#pragma once

#include "edge/api/http/api.hpp"

namespace deepwell::edge {

void install_middleware(net::Router& router, Api& api);

}  // namespace deepwell::edge

#pragma once

#include <boost/json/value.hpp>

#include <map>
#include <string>

namespace slipway::provider {

/// What an instance is told through its environment variables.
using variable_map = std::map<std::string, std::string>;

/// The variable that carries one channel's credential: `CHANNEL_` and the type
/// in upper case, everything that no variable's name can hold replaced by `_`.
[[nodiscard]] std::string channel_variable(std::string_view channel_type);

/// Puts the variables into a template's configuration, before anything is
/// deployed from it. A service that declares any of them gets those it declares
/// and the rest; where none does, every service gets all. Variables without a
/// value get their default. Whatever else the configuration holds stays as it
/// is: it may know fields that we do not.
void fill_variables(boost::json::value& config, const variable_map& variables);

} // namespace slipway::provider

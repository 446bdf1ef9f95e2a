#include "http/provider/variables.hpp"

#include <algorithm>
#include <cctype>

namespace slipway::provider {

namespace json = boost::json;

std::string channel_variable(std::string_view channel_type) {
  auto out = std::string{"CHANNEL_"};
  for (unsigned char c : channel_type)
    out += std::isalnum(c) != 0 ? static_cast<char>(std::toupper(c)) : '_';
  return out;
}

namespace {

json::object* object_of(json::value& of, std::string_view name) {
  if (!of.is_object())
    return nullptr;
  auto* found = of.get_object().if_contains(name);
  return found != nullptr && found->is_object() ? &found->get_object()
                                                : nullptr;
}

bool declares_any(json::value& service, const variable_map& variables) {
  const auto* declared = object_of(service, "variables");
  return declared != nullptr
         && std::any_of(variables.begin(), variables.end(), [&](const auto& x) {
              return declared->contains(x.first);
            });
}

void use_defaults(json::object& variables) {
  for (auto& [name, value] : variables) {
    if (!value.is_object())
      continue;
    auto& fields = value.get_object();
    const auto* given = fields.if_contains("value");
    const auto* fallback = fields.if_contains("defaultValue");
    if ((given == nullptr || given->is_null()) && fallback != nullptr
        && !fallback->is_null()) {
      // Making room for the one may move the other.
      auto copy = *fallback;
      fields["value"] = std::move(copy);
    }
  }
}

void set(json::object& variables, const std::string& name,
         const std::string& value) {
  auto& slot = variables[name];
  if (!slot.is_object())
    slot = json::object{};
  slot.get_object()["value"] = value;
}

} // namespace

void fill_variables(json::value& config, const variable_map& variables) {
  auto* services = object_of(config, "services");
  if (services == nullptr)
    return;
  const auto somebody_declares
    = std::any_of(services->begin(), services->end(), [&](auto& service) {
        return declares_any(service.value(), variables);
      });
  for (auto& service : *services) {
    if (!service.value().is_object())
      continue;
    auto& fields = service.value().get_object();
    const auto wanted
      = !somebody_declares || declares_any(service.value(), variables);
    auto* declared = object_of(service.value(), "variables");
    if (declared == nullptr && wanted)
      declared = &(fields["variables"] = json::object{}).get_object();
    if (declared == nullptr)
      continue;
    use_defaults(*declared);
    if (wanted)
      for (const auto& [name, value] : variables)
        set(*declared, name, value);
  }
}

} // namespace slipway::provider

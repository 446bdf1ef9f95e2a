#include "http/provider/blueprint.hpp"

#include "http/provider/view.hpp"

#include <algorithm>
#include <tuple>

namespace slipway::provider {

namespace json = boost::json;

namespace {

const json::value& service_of(const blueprint& from) {
  return value_at(value_at(from.config, "services"), from.service_id);
}

/// A text from the provider as a key of ours.
std::string text_of(json::string_view text) {
  return {text.data(), text.size()};
}

/// Domains are the template's own: nobody else can have them.
void leave_domains_behind(json::object& service) {
  auto* networking = service.if_contains("networking");
  if (networking == nullptr || !networking->is_object())
    return;
  for (const auto* own : {"serviceDomains", "customDomains"})
    if (networking->get_object().contains(own))
      networking->get_object()[own] = json::object{};
}

/// Puts values under the new ids; what has no new id is left out.
json::object renamed(const json::object& from,
                     const std::map<std::string, std::string>& ids) {
  auto out = json::object{};
  for (const auto& [old_id, value] : from)
    if (const auto known = ids.find(text_of(old_id)); known != ids.end())
      out[known->second] = value;
  return out;
}

} // namespace

std::vector<volume_mount> mounts_of(const blueprint& from) {
  auto out = std::vector<volume_mount>{};
  const auto& mounts = value_at(service_of(from), "volumeMounts");
  if (!mounts.is_object())
    return out;
  for (const auto& [id, mount] : mounts.get_object()) {
    auto x = volume_mount{};
    x.template_volume = text_of(id);
    x.path = std::string{text_at(mount, "mountPath")};
    x.region = std::string{text_at(
      value_at(value_at(from.config, "volumes"), x.template_volume), "region")};
    if (!x.path.empty())
      out.push_back(std::move(x));
  }
  return out;
}

std::optional<std::int64_t> port_of(const blueprint& from) {
  const auto& domains
    = value_at(value_at(service_of(from), "networking"), "serviceDomains");
  if (!domains.is_object())
    return std::nullopt;
  for (const auto& [name, domain] : domains.get_object())
    if (const auto& port = value_at(domain, "port"); port.is_int64())
      return port.get_int64();
  return std::nullopt;
}

json::object make_patch(const blueprint& from, const std::string& service_id,
                        const std::map<std::string, std::string>& volumes,
                        const variable_map& variables) {
  auto out
    = from.config.is_object() ? from.config.get_object() : json::object{};
  auto service = service_of(from).is_object() ? service_of(from).get_object()
                                              : json::object{};
  leave_domains_behind(service);
  if (auto* mounts = service.if_contains("volumeMounts");
      mounts != nullptr && mounts->is_object())
    *mounts = renamed(mounts->get_object(), volumes);
  if (auto* known = out.if_contains("volumes");
      known != nullptr && known->is_object())
    *known = renamed(known->get_object(), volumes);
  auto services = json::object{};
  services[service_id] = std::move(service);
  out["services"] = std::move(services);
  auto filled = json::value(std::move(out));
  fill_variables(filled, variables);
  return std::move(filled.get_object());
}

bool is_patched(const json::value& config, std::string_view service_id,
                std::string_view subscription) {
  const auto& variables
    = value_at(value_at(value_at(config, "services"), service_id), "variables");
  return text_at(value_at(variables, "SUBSCRIPTION_ID"), "value")
         == subscription;
}

std::size_t services_in(const json::value& config) {
  const auto& services = value_at(config, "services");
  return services.is_object() ? services.get_object().size() : 0;
}

std::vector<made_service> made_services_of(const json::value& project) {
  auto out = std::vector<made_service>{};
  for_each_node(value_at(project, "services"), [&](const json::value& node) {
    if (is_live(node))
      out.push_back({word_at(node, "id"), word_at(node, "name"),
                     word_at(node, "templateServiceId"),
                     word_at(node, "createdAt"), false});
  });
  return out;
}

std::vector<std::string> surplus_of(std::vector<made_service> services) {
  // Times in one format compare as texts; ids decide between equal ones, so
  // that whoever looks again finds the same.
  std::sort(services.begin(), services.end(), [](const auto& a, const auto& b) {
    return std::tie(a.template_service, b.in_use, a.created_at, a.id)
           < std::tie(b.template_service, a.in_use, b.created_at, b.id);
  });
  auto out = std::vector<std::string>{};
  for (auto i = std::size_t{1}; i < services.size(); ++i)
    if (!services[i].template_service.empty()
        && services[i].template_service == services[i - 1].template_service)
      out.push_back(services[i].id);
  return out;
}

} // namespace slipway::provider

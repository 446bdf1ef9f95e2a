#include "http/provider/view.hpp"

#include "http/provider/answer.hpp"

namespace slipway::provider {

namespace json = boost::json;

std::string_view text_at(const json::value& of, std::string_view name) {
  if (!of.is_object())
    return {};
  const auto* found = of.get_object().if_contains(name);
  if (found == nullptr || !found->is_string())
    return {};
  return {found->get_string().data(), found->get_string().size()};
}

std::string word_at(const json::value& of, std::string_view name) {
  return clean(text_at(of, name));
}

const json::value& value_at(const json::value& of, std::string_view name) {
  static const auto null = json::value{};
  if (!of.is_object())
    return null;
  const auto* found = of.get_object().if_contains(name);
  return found != nullptr ? *found : null;
}

json::parse_options deep_enough() {
  auto out = json::parse_options{};
  out.max_depth = 256;
  return out;
}

bool is_live(const json::value& node) {
  return value_at(node, "deletedAt").is_null();
}

std::string environment_of(const json::value& project) {
  auto out = std::string{};
  for_each_node(value_at(project, "environments"), [&](const json::value& e) {
    if (out.empty() || text_at(e, "name") == "production")
      out = word_at(e, "id");
  });
  return out;
}

std::vector<service_view> services_of(const json::value& environment) {
  auto out = std::vector<service_view>{};
  for_each_node(
    value_at(environment, "serviceInstances"), [&](const json::value& node) {
      auto x = service_view{};
      x.id = word_at(node, "serviceId");
      x.name = word_at(node, "serviceName");
      const auto& domains = value_at(node, "domains");
      for (const auto* kind : {"customDomains", "serviceDomains"}) {
        const auto& list = value_at(domains, kind);
        if (x.domain.empty() && list.is_array() && !list.get_array().empty())
          x.domain = word_at(list.get_array().front(), "domain");
      }
      const auto& latest = value_at(node, "latestDeployment");
      x.deployment_id = word_at(latest, "id");
      x.status = word_at(latest, "status");
      const auto& stopped = value_at(latest, "deploymentStopped");
      x.stopped = stopped.is_bool() && stopped.get_bool();
      out.push_back(std::move(x));
    });
  return out;
}

} // namespace slipway::provider

#include "http/sandbox/railway_page.hpp"

#include "http/sandbox/page.hpp"

#include <algorithm>
#include <array>

namespace slipway::sandbox::railway {

namespace json_ns = boost::json;

namespace {

constexpr auto projects_shown = 100;

constexpr auto deployments_shown = 10;

constexpr auto webhooks_shown = 20;

bool is_running(const deployment& x) {
  return x.status == "SUCCESS" && !x.stopped;
}

constexpr auto deeds = std::array<deed, 7>{{
  {"crash", "崩溃 Crash", &world::crash, is_running},
  {"degrade", "降级 Degrade", &world::degrade, is_running},
  {"sleep", "休眠 Sleep", &world::sleep, is_running},
  {"wake", "唤醒 Wake", &world::wake,
   [](const deployment& x) {
     return x.status == "SLEEPING";
   }},
  {"stop", "停止 Stop", &world::stop, is_running},
  {"release", "放行 Release", &world::release,
   [](const deployment& x) {
     return x.hang_in == x.status;
   }},
  {"remove", "移除 Remove", &world::remove,
   [](const deployment& x) {
     return x.status != "REMOVING" && x.status != "REMOVED"
            && x.status != "SKIPPED";
   }},
}};

std::string mask(std::string_view value) {
  if (value.empty())
    return "";
  return value.size() < 8 ? "•••" : std::string{value.substr(0, 2)} + "•••";
}

std::string_view tone(std::string_view status) {
  if (status == "SUCCESS")
    return "good";
  return status == "FAILED" || status == "CRASHED" ? "bad" : "dim";
}

std::string button(std::string_view kind, std::string_view id,
                   std::string_view deed, std::string_view label) {
  return "<form class=\"inline\" method=\"post\" action=\"/sandbox/railway/"
         + std::string{kind} + "/" + std::string{id} + "/" + std::string{deed}
         + "\"><button class=\"small\">" + std::string{label}
         + "</button></form> ";
}

std::string deployment_row(const deployment& x) {
  auto text = "<tr><td><code>" + x.id.substr(0, 8) + "</code><td class=\"";
  text += tone(x.status);
  text += "\">";
  text += x.status;
  text += x.stopped ? " (stopped)" : "";
  text += "<td>" + to_rfc3339(x.since) + "<td>";
  for (const auto& each : deeds)
    if (each.fits(x))
      text += button("deployments", x.id, each.name, each.label);
  if (!is_in_progress(x))
    text += button("deployments", x.id, "redeploy", "重新部署 Redeploy");
  return text + "</tr>";
}

std::string service_part(const world& all, const service& x) {
  auto text = "<h2>" + escape(x.name) + " <small>" + escape(x.source())
              + "</small></h2><dl>";
  for (const auto& each : x.domains)
    text += "<dt>域名 domain</dt><dd>" + escape(each.domain) + "</dd>";
  for (const auto& [name, value] : x.variables())
    text += "<dt><code>" + escape(name) + "</code></dt><dd><code>"
            + escape(mask(value)) + "</code></dd>";
  text += "</dl><div class=\"scroll\"><table><tr><th>部署 deployment<th>状态 "
          "status<th>起 since<th></tr>";
  auto shown = 0;
  for (auto i = x.deployments.rbegin();
       i != x.deployments.rend() && shown < deployments_shown; ++i, ++shown)
    text += deployment_row(*all.find_deployment(*i));
  return text + "</table></div><p>"
         + button("services", x.id, "delete", "删除服务 Delete service")
         + "</p>";
}

std::string project_card(const world& all, const project& x) {
  auto text = "<div class=\"card\"><h2>" + escape(x.name);
  if (x.deleted)
    text += " <small class=\"bad\">已删除 deleted " + to_rfc3339(*x.deleted)
            + "</small>";
  text += "</h2><p class=\"dim\">" + escape(x.description) + " <code>" + x.id
          + "</code>";
  for (const auto* each : all.volumes_of(x))
    text += "<br>存储卷 volume <code>" + each->id.substr(0, 8) + "</code> "
            + (each->service_id.empty() ? "— detached" : "");
  text += "</p>";
  for (const auto* each : all.services_of(x))
    text += service_part(all, *each);
  if (!x.deleted)
    text += "<p>"
            + button("projects", x.id, "delete", "删除项目 Delete project")
            + "</p>";
  return text + "</div>";
}

std::string result_of(const delivery& x) {
  if (x.lost)
    return "<span class=\"bad\">丢失 lost</span>";
  if (x.answer == 0)
    return "<span class=\"bad\">—</span> <small>" + escape(x.body) + "</small>";
  return "<span class=\"" + std::string{x.understood ? "good" : "bad"} + "\">"
         + std::to_string(x.answer) + "</span>";
}

std::string webhooks_part(const world& all, const surroundings& around) {
  auto text = "<details><summary>回调记录 Webhooks sent <small>"
              + std::to_string(all.rules().size()) + " 规则 rules · "
              + std::to_string(around.sockets)
              + " 长连接 sockets</small></summary><div class=\"scroll\"><table>"
                "<tr><th>时间 At<th>类型 Type<th>部署 deployment<th>结果 "
                "Answer</tr>";
  auto shown = 0;
  for (auto i = around.told.rbegin();
       i != around.told.rend() && shown < webhooks_shown; ++i, ++shown)
    text += "<tr><td>" + to_rfc3339(i->at) + "<td>" + escape(i->event)
            + "<td><code>" + escape(i->id.substr(0, 8)) + "</code><td>"
            + result_of(*i) + "</tr>";
  return text + "</table></div></details>";
}

json_ns::object to_json(const world& all, const service& x) {
  json_ns::array deployments;
  for (const auto& id : x.deployments) {
    const auto* each = all.find_deployment(id);
    deployments.push_back({{"id", each->id},
                           {"status", each->status},
                           {"since", to_rfc3339(each->since)},
                           {"stopped", each->stopped}});
  }
  return {{"id", x.id},
          {"name", x.name},
          {"source", x.source()},
          {"deployments", std::move(deployments)}};
}

} // namespace

std::optional<world::outcome<bool>>
perform(world& all, std::string_view name, const std::string& deployment_id) {
  for (const auto& each : deeds)
    if (each.name == name)
      return (all.*each.run)(deployment_id);
  if (name != "redeploy")
    return std::nullopt;
  return all.redeploy(deployment_id).map([](const deployment*) {
    return true;
  });
}

std::string to_html(const world& all, const surroundings& around) {
  auto text
    = std::
        string{"<div class=\"card\"><h1>Railway <small>simulated provider · "
               "模拟部署平台</small></h1><p class=\"dim\">本小时请求 requests "
               "this hour: "}
      + std::to_string(around.requests)
      + " · 剩余 left: " + std::to_string(around.left)
      + "</p><form method=\"post\" action=\"/sandbox/railway\">"
      + to_html(all.knobs, around.initial)
      + "<p><button>保存 Save</button></p></form>" + webhooks_part(all, around)
      + "</div>";
  const auto projects = all.projects();
  auto shown = 0;
  for (auto i = projects.rbegin();
       i != projects.rend() && shown < projects_shown; ++i, ++shown)
    text += project_card(all, **i);
  if (projects.empty())
    text += "<p class=\"dim\">还没有项目 No projects yet</p>";
  return text;
}

json_ns::object to_json(const world& all, const surroundings& around) {
  json_ns::array projects;
  for (const auto* x : all.projects()) {
    json_ns::array services;
    for (const auto* each : all.services_of(*x))
      services.push_back(to_json(all, *each));
    projects.push_back(
      {{"id", x->id},
       {"name", x->name},
       {"description", x->description},
       {"environmentId", x->environment_id},
       {"createdAt", to_rfc3339(x->created)},
       {"deletedAt", x->deleted ? json_ns::value(to_rfc3339(*x->deleted))
                                : json_ns::value(nullptr)},
       {"volumes", all.volumes_of(*x).size()},
       {"services", std::move(services)}});
  }
  json_ns::array webhooks;
  for (const auto& each : around.told)
    webhooks.push_back({{"at", to_rfc3339(each.at)},
                        {"type", each.event},
                        {"deploymentId", each.id},
                        {"lost", each.lost},
                        {"answer", each.answer}});
  return {{"workspaceId", around.workspace_id},
          {"requests", around.requests},
          {"left", around.left},
          {"resetsAt", to_rfc3339(around.resets_at)},
          {"sockets", around.sockets},
          {"rules", all.rules().size()},
          {"webhooks", std::move(webhooks)},
          {"projects", std::move(projects)}};
}

} // namespace slipway::sandbox::railway

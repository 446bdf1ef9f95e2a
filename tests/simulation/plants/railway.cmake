plant([[    if (may_be_invisible(t)) {
      // That may last]]
[[    if (!test::planted("believes its eyes") && may_be_invisible(t)) {
      // That may last]])

plant([[      announce(*t, lifecycle::project_create_started{at, t->attempt()},]]
[[      if (test::planted("calls first"))
        create(*t);
      else
        announce(*t, lifecycle::project_create_started{at, t->attempt()},]])

plant([[    if (t.look_began_by < since + lag)]]
[[    if (!test::planted("trusts the wall") && t.look_began_by < since + lag)]])

plant([[    held.clear();]]
[[    if (!test::planted("keeps slots"))
      held.clear();]])

plant([[  held.erase(raw(id));]]
[[  if (!test::planted("keeps slots"))
    held.erase(raw(id));]])

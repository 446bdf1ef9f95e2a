plant([[+ std::to_string(static_cast<int>(mail.what.kind)) + "@" + options.domain;]]
[[+ std::to_string(static_cast<int>(mail.what.kind)) + "@"
      + (test::planted("renames mails") ? std::to_string(mail.tries) + "." : "")
      + options.domain;]])

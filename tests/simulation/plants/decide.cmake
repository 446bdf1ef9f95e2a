plant([[  if (now.status != subscription_status::pending
      && now.status != subscription_status::expired)
    return false;]]
[[  if (!test::planted("activates twice")
      && now.status != subscription_status::pending
      && now.status != subscription_status::expired)
    return false;]])

plant([[  if (has_money(*known))
    return refuse(now, known->transaction_id]]
[[  if (has_money(*known) && !test::planted("counts payments twice"))
    return refuse(now, known->transaction_id]])

plant([[    start_refund(paid, late ?]]
[[    if (!test::planted("keeps surplus"))
      start_refund(paid, late ?]])

plant([[  return apply(std::move(next), {effect::release_slot, effect::notify_failed});]]
[[  if (test::planted("tells nobody"))
    return apply(std::move(next), {effect::release_slot});
  return apply(std::move(next), {effect::release_slot, effect::notify_failed});]])

plant([[    consider(now.deployment.deadline_at);]]
[[    consider(test::planted("sleeps through") ? std::nullopt
                                             : now.deployment.deadline_at);]])

plant([[  if (has_step(now.deployment.at) && !now.deployment.retry_at)]]
[[  if (!test::planted("does not resume") && has_step(now.deployment.at)
      && !now.deployment.retry_at)]])

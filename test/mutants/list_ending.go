package main

// ofEnding are the mutants of calls that may still take a key away.
var ofEnding = []mutant{
	{
		Name: "lost-ending-forgotten", Rule: "served works",
		File: "pkg/rotate/pass.go", Old: "if err != nil && ends(step) && (!certain(err) || errors.Is(err, ErrThrottled)) {", New: "if false {",
		Pkg: "./pkg/rotate", Test: "TestACallThatEndsAKeyMayComeLate", Says: "before its Expiration",
	},
	{
		Name: "burn-promotes-what-ends", Rule: "served works",
		File: "pkg/rotate/plan/orders.go", Old: "usable := d.r.leaked(k).IsZero()", New: "k.Ending = time.Time{}\n\tusable := d.r.leaked(k).IsZero()",
		Pkg: "./pkg/rotate", Test: "TestACallThatEndsAKeyMayComeLate", Says: "before its Expiration",
	},
	{
		Name: "lease-is-given-up", Rule: "served works",
		File: "pkg/rotate/pass.go", Old: "if p.left || p.keepLease {", New: "if p.left {",
		Pkg: "./pkg/rotate", Test: "TestACallThatEndsAKeyMayComeLate", Says: "before its Expiration",
	},
	{
		Name: "slot-given-up", Rule: "orphans die",
		File: "pkg/rotate/plan/create.go", Old: "over = latest(over, in.Until)", New: "_ = in",
		Pkg: "./pkg/rotate/plan", Test: "TestNoSlotIsGivenUpDuringALostCall", Says: "while the call may be under way = delete",
	},
	{
		Name: "ending-not-noted", Rule: "served works",
		File: "pkg/rotate/plan/apply.go", Old: "k.Ending = latest(k.Ending, p.WithDefaults().Over(began))", New: "_ = k",
		Pkg: "./pkg/rotate", Test: "TestACallThatEndsAKeyMayComeLate", Says: "before its Expiration",
	},
	{
		Name: "heir-forgets-what-was-sent", Rule: "served works",
		File: "pkg/rotate/plan/apply.go", Old: "r = r.EndsLate(p, k.ID, now)", New: "_ = k",
		Pkg: "./pkg/rotate", Test: "TestACallThatEndsAKeyMayComeLate", Says: "before its Expiration",
	},
	{
		Name: "deletion-is-not-announced", Rule: "served works",
		File: "pkg/rotate/act.go", Old: "if step.Action != plan.Delete || k == nil", New: "if true || k == nil",
		Pkg: "./pkg/rotate", Test: "TestAKeyOnItsWayThatEndsLate", Says: "before its Expiration",
	},
	{
		Name: "heir-of-a-publisher", Rule: "served works",
		File: "pkg/rotate/plan/apply.go", Old: "if publishable && len(", New: "if false && publishable && len(",
		Pkg: "./pkg/rotate", Test: "TestPublishingOutlivesItsProcess", Says: "want when the lease has ended",
	},
	{
		Name: "gone-while-stopped", Rule: "served works",
		File: "internal/liveness/liveness.go", Old: "err == nil && got {", New: "err == nil && (got || true) {",
		Pkg: "./internal/liveness", Test: "TestAKilledProcessIsGone", Says: "with everybody alive",
	},
	{
		Name: "nobody-inherits", Rule: "on time",
		File: "pkg/rotate/lease.go", Old: "for _, dead := range r.Dead() {", New: "for _, dead := range r.Dead()[:0] {",
		Pkg: "./pkg/rotate", Test: "TestTheLeaseOfWhoIsGone", Says: "goes on after 1m0s",
	},
	{
		Name: "wiring-alone", Rule: "on time",
		File: "internal/cli/wire.go", Old: "s.rotator.Owner, s.rotator.Dead = owner, s.alive.Dead", New: "s.rotator.Owner = owner",
		Pkg: "./internal/cli", Test: "TestProcessesKnowEachOther", Says: "is not told",
	},
	{
		Name: "order-is-not-due", Rule: "on time",
		File: "pkg/rotate/plan/create.go", Old: "return earliest(d.r.Order.At, d.now), Ordered", New: "return d.r.Order.At, Ordered",
		Pkg: "./pkg/rotate", Test: "TestAnOrderIsDueAtOnce", Says: "not_due",
	},
}

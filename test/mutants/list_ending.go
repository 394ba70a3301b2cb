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
}

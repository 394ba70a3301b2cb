package main

// What readers of targets and burned users are owed.
var readers = []mutant{
	{
		Name: "readers-wait-for-iam", Rule: "served works",
		File: "pkg/rotate/pass.go", Old: "if err != nil && p.world.Blind {", New: "if false {",
		Pkg: "./pkg/rotate", Test: "TestReadersDoNotWaitForIAM", Says: "IAM is down",
	},
	{
		Name: "readers-rest-with-the-pass", Rule: "served works",
		File: "pkg/rotate/pass.go", Old: "p.restUntil(user, step.Wake)", New: "_ = step",
		Pkg: "./pkg/rotate", Test: "TestReadersDoNotWaitForIAM", Says: "IAM is down: the target says that the key expired",
	},
	{
		Name: "readers-wait-for-a-burn", Rule: "served works",
		File: "pkg/rotate/pass.go", Old: "p.world.Blind = step.Action != plan.Wait", New: "",
		Pkg: "./pkg/rotate", Test: "TestReadersDoNotWaitForABurnThatFails", Says: "a minute after the order",
	},
	{
		Name: "no-roll-before-promotion", Rule: "served works",
		File: "pkg/rotate/plan/targets.go", Old: "if o.Expires && !t.Until.IsZero() {", New: "if o.Expires && !t.Until.IsZero() && k.Stage == Current {",
		Pkg: "./pkg/rotate", Test: "TestReadersOfAKeyOnItsWay", Says: "the target says that",
	},
}

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
	{
		Name: "burn-waits-for-a-lost-call", Rule: "never zero",
		File: "pkg/rotate/plan/create.go", Old: "if hurry && n == Quota-1 && open < hurried {", New: "if hurry && false {",
		Pkg: "./pkg/rotate", Test: "TestABurnWhoseCreationIsLost", Says: "no working key",
	},
	{
		Name: "two-keys-for-one-slot", Rule: "ours only",
		File: "pkg/rotate/plan/orphan.go", Old: "room[seen] = max(1, Quota-len(r.Intents[i].Seen))", New: "room[seen] = Quota",
		Pkg: "./pkg/rotate/plan", Test: "TestEveryOrphan", Says: "one of 2 keys that 1 lost calls may have made",
	},
}

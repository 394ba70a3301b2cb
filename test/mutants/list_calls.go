package main

// ofCalls are the mutants of what is done without a look at IAM.
var ofCalls = []mutant{
	{
		Name: "gone-under-an-old-name", Rule: "never zero",
		File: "pkg/rotate/act.go", Old: "s == plan.Inactive && !p.world.Unseen", New: "s == plan.Inactive",
		Pkg: "./pkg/rotate", Test: "TestADeactivationUnderAnOldNameIsLookedInto", Says: "works, and the record says",
	},
	{
		Name: "unseen-deletion", Rule: "never zero",
		File: "pkg/rotate/plan/look.go", Old: "case Verify, Probe, Survey:", New: "case Verify, Probe, Survey, Delete:",
		Pkg: "./pkg/rotate", Test: "TestAKeyMadeActiveAgainIsNotDeletedUnseen", Says: "an active key was deleted",
	},
	{
		Name: "unseen-and-not-accepted", Rule: "never zero",
		File: "pkg/rotate/plan/look.go", Old: "d.now.Sub(latest(relies.Confirmed, relies.Probed)) <= d.p.fresh()", New: "!d.now.IsZero()",
		Pkg: "./pkg/rotate/plan", Test: "TestUnseen", Says: "promote ready, want look",
	},
	{
		Name: "unseen-disorder", Rule: "never zero",
		File: "pkg/rotate/plan/look.go", Old: "r.Failures > 0 || d.now.Before(r.RetryAt)", New: "d.now.Before(r.RetryAt)",
		Pkg: "./pkg/rotate/plan", Test: "TestUnseen", Says: "deactivate superseded, want look",
	},
	{
		Name: "anybodys-list", Rule: "ours only",
		File: "pkg/rotate/plan/look.go", Old: "return d.UserID != \"\" ||", New: "return d.UserID != \"\" || len(d.Keys) > 0 ||",
		Pkg: "./pkg/rotate/plan", Test: "TestWhoseListItIs", Says: "want identify",
	},
	{
		Name: "look-at-every-pass", Rule: "on time",
		File: "pkg/rotate/plan/look.go", Old: "case Verify, Probe, Survey:", New: "case Survey:",
		Pkg: "./pkg/rotate", Test: "TestFewCalls", Says: "ListAccessKeys was called",
	},
}

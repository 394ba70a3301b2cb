package main

// ofOutlets are the mutants of what stands in front of publishers, of how the
// daemon ends and of the clock of API keys.
var ofOutlets = []mutant{
	{
		Name: "a-burn-waits-for-a-turn", Rule: "on time",
		File: "pkg/rotate/pace.go", Old: "saved.Record.User); err == nil {", New: "saved.Record.User); err == nil && saved.Version == 0 {",
		Pkg: "./pkg/rotate", Test: "TestABurnDoesNotWaitForTheKeyThatIsDue", Says: "70 s after the burn",
	},
	{
		Name: "readers-wait-for-a-turn", Rule: "served works",
		File: "pkg/rotate/pace.go", Old: "leadsTo(plan.Next(w, policy, p.now())) != call {", New: "leadsTo(plan.Next(w, policy, p.now())) != call && policy.Roll() == 0 {",
		Pkg: "./pkg/rotate", Test: "TestReadersDoNotWaitForTheKeyThatIsDue", Says: "whose Expiration was",
	},
	{
		Name: "silent-publisher-takes-all", Rule: "on time",
		File: "pkg/rotate/outlet.go", Old: "at := o.slots.join(v.urgency)", New: "at := (&gate{size: 1}).join(v.urgency)",
		Pkg: "./pkg/rotate", Test: "TestAHungRequiredPublisherHoldsNoSlots", Says: "calls at once",
	},
	{
		Name: "keys-do-not-queue-for-a-target", Rule: "on time",
		File: "pkg/rotate/publish.go", Old: "if v.rank == plan.RankCreate || step.Action", New: "if o != nil || step.Action",
		Pkg: "./pkg/rotate", Test: "TestKeysOnTheirWayQueueForATarget", Says: "the target was free for it",
	},
	{
		Name: "checks-before-keys", Rule: "on time",
		File: "pkg/rotate/outlet.go", Old: "if v.again || step.Reason == plan.Recheck && r.In(plan.Pending) == nil {", New: "if v.again {",
		Pkg: "./pkg/rotate", Test: "TestChecksAfterAStartKeepNoKeyWaiting", Says: "its target answers at once",
	},
	{
		Name: "retries-take-all-slots", Rule: "on time",
		File: "pkg/rotate/outlet.go", Old: "if v.again || step.Reason", New: "if step.Reason",
		Pkg: "./pkg/rotate", Test: "TestAHungRequiredPublisherHoldsNoSlots", Says: "the publisher hangs for others",
	},
	{
		Name: "no-circuit", Rule: "on time",
		File: "pkg/rotate/outlet.go", Old: "if o.pause == 0 && o.row >= downAfter {", New: "if o.pause == 0 && o.row < 0 {",
		Pkg: "./pkg/rotate", Test: "TestADeadTargetIsTriedByOneUserAtATime", Says: "the dead target was called",
	},
	{
		Name: "circuit-stays-open", Rule: "on time",
		File: "pkg/rotate/outlet.go", Old: "o.row, o.pause, o.tried, o.prober, o.told = 0, 0, nil, \"\", true", New: "o.told = true",
		Pkg: "./pkg/rotate", Test: "TestADeadTargetIsTriedByOneUserAtATime", Says: "told = .*, Down.. = ..target.*want",
	},
	{
		Name: "end-while-serving", Rule: "served works",
		File: "internal/cli/vital.go", Old: "if err == nil || time.Since(served) < endIdle {", New: "if err == nil || time.Since(served) < 0 {",
		Pkg: "./internal/cli", Test: "TestADaemonThatServesStays", Says: "while it serves",
	},
	{
		Name: "stay-for-nobody", Rule: "on time",
		File: "internal/cli/vital.go", Old: "} else if looks++; looks > 1 {", New: "} else if looks++; looks < 0 {",
		Pkg: "./internal/cli", Test: "TestADaemonThatCannotBeHealedEnds", Says: "want an end with 1",
	},
	{
		Name: "api-keys-by-this-clock", Rule: "served works",
		File: "internal/cli/apikey.go", Old: "Settings: st, Now: clock.Now,", New: "Settings: st, Now: e.Now,",
		Pkg: "./internal/cli", Test: "TestAPIKeysAreDatedByAWSsClock", Says: "away from the clock that decides",
	},
}

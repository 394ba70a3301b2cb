package main

// ofEngine are the mutants of who waits for whom.
var ofEngine = []mutant{
	{
		Name: "creation-takes-the-last-place", Rule: "on time",
		File: "pkg/rotate/gate.go", Old: "g.creating >= g.size {", New: "g.creating >= g.size+g.spare {",
		Pkg: "./pkg/rotate", Test: "TestABurnDoesNotWaitForCreations", Says: "the burned key worked for",
	},
	{
		Name: "promotions-after-creations", Rule: "on time",
		File: "pkg/rotate/plan/rank.go", Old: "\treturn RankPromote\n", New: "\treturn RankCreate\n",
		Pkg: "./pkg/rotate", Test: "TestPromotionsAreNotBehindCreations", Says: "after it was made",
	},
	{
		Name: "wait-inside-the-deadline", Rule: "on time",
		File: "pkg/rotate/pace.go", Old: "err = p.keeping(overtaken.bounds(func(ctx context.Context) error { return p.Pace.Wait(ctx, call) }))",
		New: "ctx, cancel := p.effect()\n\t\tdefer cancel()\n\t\terr = p.Pace.Wait(ctx, call)",
		Pkg: "./pkg/awsiam", Test: "TestWaitingForThePaceFailsNobody", Says: "deadline exceeded",
	},
	{
		Name: "throttled-is-failed", Rule: "on time",
		File: "pkg/rotate/pace.go", Old: "return callOf(step.Action) != \"\" && errors.Is(err, ErrThrottled)",
		New: "return callOf(step.Action) == \"\" && errors.Is(err, ErrThrottled)",
		Pkg: "./pkg/rotate", Test: "TestThrottledCallsAreTriedAgainInThePass", Says: "failed",
	},
	{
		Name: "asked-is-not-due", Rule: "on time",
		File: "pkg/rotate/pass.go", Old: "due.After(r.now()) && !w.dueNow", New: "due.After(r.now())",
		Pkg: "./pkg/rotate", Test: "TestWhoWasMadeDueIsDue", Says: "nothing was done",
	},
	{
		Name: "order-is-for-later", Rule: "on time",
		File: "pkg/rotate/save.go", Old: "OrderedAfter(now)", New: "OrderedAfter(now.Add(24 * time.Hour))",
		Pkg: "./pkg/rotate", Test: "TestARollbackFromTheFuture", Says: "is not done",
	},
	{
		Name: "due-by-this-clock-only", Rule: "on time",
		File: "pkg/rotate/rotator.go", Old: "early > min(clockSlack, o.Patience) {", New: "early > 0 {",
		Pkg: "./pkg/rotate", Test: "TestWhoIsDueByAnothersClockIsDue", Says: "to the next one",
	},
	{
		Name: "list-at-each-tick", Rule: "cheap",
		File: "pkg/rotate/run.go", Old: "\ts.listed = true\n", New: "",
		Pkg: "./pkg/rotate", Test: "TestAStartLooksAtEverybody", Says: "times in a minute",
	},
	{
		Name: "list-for-each-selection", Rule: "cheap",
		File: "pkg/rotate/run.go", Old: "known, _, err := s.Roster.All(ctx)", New: "all, err := s.Store.List(ctx)\n\tknown := pointers(all)",
		Pkg: "./pkg/rotate", Test: "TestWhoIsNewIsFoundWithoutReadingEverybody", Says: "times in an hour",
	},
	{
		Name: "a-roster-of-its-own", Rule: "cheap",
		File: "internal/cli/wire.go", Old: "Roster: s.roster, Audit:", New: "Audit:",
		Pkg: "./internal/cli", Test: "TestServeIsWired", Says: "Rotator.Roster is not set",
	},
	{
		Name: "read-what-others-read", Rule: "cheap",
		File: "pkg/store/dynamodb/due.go", Old: "if ever && age < dueAge {", New: "if ever && k.begun.IsZero() && age < dueAge {",
		Pkg: "./pkg/store/dynamodb", Test: "TestDueReadsPageByPage", Says: "after everybody was read",
	},
}

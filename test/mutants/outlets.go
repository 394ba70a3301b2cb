package main

// ofOutlets are the mutants of what stands in front of publishers, of how the
// daemon ends and of the clock of API keys.
var ofOutlets = []mutant{
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

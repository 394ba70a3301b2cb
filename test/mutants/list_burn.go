package main

// ofBurn are the mutants of burns in a crowd, and of what is said of it before.
var ofBurn = []mutant{
	{
		Name: "throttled-command-gives-no-way", Rule: "no leak",
		File: "pkg/rotate/pace.go", Old: "if p.private {\n\t\treturn p.giveWay", New: "if p.private && p.refusals > 99 {\n\t\treturn p.giveWay",
		Pkg: "./pkg/rotate", Test: "TestACommandThatIsThrottledGivesWayToTheDaemon", Says: "want it done within 30 s",
	},
	{
		Name: "metrics-do-not-look-ahead", Rule: "told",
		File: "internal/cli/wire.go", Old: "return s.health.Capacity().Late", New: "return s.health.Capacity().Late * 0",
		Pkg: "./internal/cli", Test: "TestTooManyUsersAreToldEverywhere", Says: "the metrics do not say",
	},
}

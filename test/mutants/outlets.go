package main

// ofOutlets are the mutants of what stands in front of publishers.
var ofOutlets = []mutant{
	{
		Name: "no-circuit", Rule: "on time",
		File: "pkg/rotate/outlet.go", Old: "if o.pause == 0 && o.row >= downAfter {", New: "if o.pause == 0 && o.row < 0 {",
		Pkg: "./pkg/rotate", Test: "TestADeadTargetIsTriedByOneUserAtATime", Says: "the dead target was called",
	},
	{
		Name: "circuit-stays-open", Rule: "on time",
		File: "pkg/rotate/outlet.go", Old: "o.row, o.pause, o.tried, o.prober, o.told = 0, 0, nil, \"\", true", New: "o.told = true",
		Pkg: "./pkg/rotate", Test: "TestADeadTargetIsTriedByOneUserAtATime", Says: "Down() = [\"target\"]; want",
	},
}

package main

// ofCosts are the mutants of what the table and KMS are asked for.
var ofCosts = []mutant{
	{
		Name: "full-cache-is-emptied", Rule: "cheap",
		File: "internal/recent/recent.go", Old: "for m.order.Len() > max(m.Max, 1) {", New: "for full := m.order.Len() > max(m.Max, 1); full && m.order.Len() > 1; {",
		Pkg: "./pkg/seal/kmsseal", Test: "TestTheOldestKeyMakesRoom", Says: "of the 100 newest data keys were forgotten",
	},
}

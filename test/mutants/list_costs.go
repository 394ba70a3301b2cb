package main

// ofCosts are the mutants of what the table and KMS are asked for.
var ofCosts = []mutant{
	{
		Name: "full-cache-is-emptied", Rule: "cheap",
		File: "internal/recent/recent.go", Old: "for m.order.Len() > max(m.Max, 1) {", New: "for full := m.order.Len() > max(m.Max, 1); full && m.order.Len() > 1; {",
		Pkg: "./pkg/seal/kmsseal", Test: "TestTheOldestKeyMakesRoom", Says: "of the 100 newest data keys were forgotten",
	},
	{
		Name: "not-due-acted-on", Rule: "cheap",
		File: "pkg/rotate/pass.go", Old: "due.After(r.now()) && !w.dueNow {", New: "false {",
		Pkg: "./pkg/rotate", Test: "TestALateIndexCostsNoCalls", Says: "with an index that lags a minute",
	},
	{
		Name: "everybody-is-indexed", Rule: "cheap",
		File: "pkg/store/dynamodb/due.go", Old: "if moves < 0 ||", New: "if moves != 0 ||",
		Pkg: "./pkg/store/dynamodb", Test: "TestDueOfOtherProcesses", Says: "after a rotation: the user is in the index",
	},
	{
		Name: "orders-wait-for-the-minute", Rule: "on time",
		File: "pkg/store/dynamodb/due.go", Old: "if moves < 0 ||", New: "if moves < -1 ||",
		Pkg: "./pkg/store/dynamodb", Test: "TestDueOfOtherProcesses", Says: "a new user: Due",
	},
	{
		Name: "lease-for-everybody", Rule: "one hand",
		File: "pkg/store/dynamodb/lease.go", Old: `"#ends <= :now"}`, New: `"attribute_exists(#ends)"}`,
		Pkg: "./pkg/store/dynamodb", Test: "TestConformance", Says: "Acquire of a held lease",
	},
	{
		Name: "lease-given-up-for-another", Rule: "one hand",
		File: "pkg/store/dynamodb/entries.go", Old: "c.expression += \" AND #owner = :owner\"", New: "",
		Pkg: "./pkg/store/dynamodb", Test: "TestSaveGivesUpNoOthersLease", Says: "Acquire = <nil>",
	},
	{
		Name: "act-on-what-was-before-the-lease", Rule: "one hand",
		File: "pkg/rotate/pass.go", Old: "version == 0 || p.ahead.Version != version", New: "p.ahead.Version == 0",
		Pkg: "./pkg/rotate", Test: "TestWhatWasReadBeforeTheLeaseIsReadAgain", Says: "acted on",
	},
	{
		Name: "blocks-of-the-dead-are-foreign", Rule: "on record",
		File: "pkg/store/dynamodb/auditend.go", Old: "if len(next.next) == 0 {", New: "if next.next = make([]byte, sha256.Size); true {",
		Pkg: "./pkg/store/dynamodb", Test: "TestProcessesMoveTheEndPastEachOther", Says: "the log was queried",
	},
}

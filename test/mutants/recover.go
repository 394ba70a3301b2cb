package main

// ofRecovery are the mutants of orders to recover.
var ofRecovery = []mutant{
	{
		Name: "recover-takes-the-last", Rule: "never zero",
		File: "pkg/rotate/plan/recover.go", Old: "case !d.worksBeside(k.ID):", New: "case false:",
		Pkg: "./pkg/rotate/plan", Test: "TestEveryRecovery", Says: "never zero",
	},
	{
		Name: "recover-breaks-promise", Rule: "served works",
		File: "pkg/rotate/plan/recover.go", Old: "if due := d.p.deactivateDue(k); d.now.Before(due) {", New: "if due := d.p.deactivateDue(k); d.now.Before(due) && false {",
		Pkg: "./pkg/rotate/plan", Test: "TestEveryRecovery", Says: "served works",
	},
	{
		Name: "recover-takes-foreign", Rule: "ours only",
		File: "pkg/rotate/plan/recover.go", Old: "slices.Contains(o.Lost, k.ID)\n", New: "slices.Contains(o.Lost, k.ID) || held == nil\n",
		Pkg: "./pkg/rotate/plan", Test: "TestEveryRecovery", Says: "ours only",
	},
	{
		Name: "recover-last-in-every-world", Rule: "never zero",
		File: "pkg/rotate/plan/recover.go", Old: "case !d.worksBeside(k.ID):", New: "case false:",
		Pkg: "./pkg/rotate/plan", Test: "TestEveryWorldWithARecovery", Says: "never zero",
	},
	{
		Name: "recover-early-in-every-world", Rule: "served works",
		File: "pkg/rotate/plan/recover.go", Old: "if due := d.p.deactivateDue(k); d.now.Before(due) {", New: "if due := d.p.deactivateDue(k); d.now.Before(due) && false {",
		Pkg: "./pkg/rotate/plan", Test: "TestEveryWorldWithARecovery", Says: "served works",
	},
	{
		Name: "recover-all-in-every-world", Rule: "ours only",
		File: "pkg/rotate/plan/recover.go", Old: "slices.Contains(o.Lost, k.ID)\n", New: "slices.Contains(o.Lost, k.ID) || held == nil\n",
		Pkg: "./pkg/rotate/plan", Test: "TestEveryWorldWithARecovery", Says: "ours only",
	},
	{
		Name: "recover-waits-for-the-window", Rule: "on time",
		File: "pkg/rotate/plan/create.go", Old: "case cur == nil && d.r.Order != nil && d.r.Order.Kind == Recover:", New: "case false:",
		Pkg: "./pkg/rotate/plan", Test: "TestEveryWorldWithARecovery", Says: "there is room for a new key",
	},
	{
		Name: "copy-is-believed", Rule: "served works",
		File: "pkg/rotate/plan/next.go", Old: "d.copied, ", New: "//",
		Pkg: "./pkg/rotate/plan", Test: "TestNext$", Says: "want probe .A. because unchecked",
	},
	{
		Name: "sim-bereft-is-overlooked", Rule: "never zero",
		File: "pkg/rotate/recover.go", Old: "l.Bereft = !l.New && (", New: "l.Bereft = false && (",
		Pkg: "./internal/sim", Test: "TestRestores$", Says: "served works:|never zero:",
	},
	{
		Name: "sim-copy-knows-the-targets", Rule: "served works",
		File: "pkg/rotate/plan/recover.go", Old: "\tr.unpublish()\n", New: "",
		Pkg: "./internal/sim", Test: "TestRestores$", Says: "published:",
	},
	{
		Name: "readers-of-a-lost-key-are-forgotten", Rule: "served works",
		File: "pkg/rotate/plan/recover.go", Old: "if told && age >", New: "if told && age <",
		Pkg: "./pkg/rotate", Test: "TestARecoveryKeepsWhatReadersWereTold", Says: "before the Expiration that they were told",
	},
	{
		Name: "a-stop-is-a-delay", Rule: "on time",
		File: "pkg/rotate/plan/targets.go", Old: "now.Add(old.Sub(could))", New: "now.Add(now.Sub(could))",
		Pkg: "./pkg/rotate", Test: "TestRotationGoesOnInTime$", Says: "the user is overdue since",
	},
	{
		Name: "a-place-is-free-at-once", Rule: "on time",
		File: "pkg/rotate/plan/targets.go", Old: "if old.Stage != Previous || !old.Burned.IsZero() {", New: "if true {",
		Pkg: "./pkg/rotate/plan", Test: "TestHowLongReadersAreTold", Says: "its place is free in a while",
	},
	{
		Name: "an-old-list-puts-off", Rule: "on time",
		File: "pkg/rotate/plan/next.go", Old: "d.now.Before(again) {\n\t\t\t\td.later(NotDue, k.ID, again)", New: "d.now.Before(again) {",
		Pkg: "./pkg/rotate/plan", Test: "TestAnOldListDoesNotPutADeletionOff", Says: "want a wait until minute 15",
	},
}

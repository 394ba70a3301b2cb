package main

// ofRecord are the mutants of what is recorded and told.
var ofRecord = []mutant{
	{
		Name: "act-before-audit", Rule: "on record",
		File: "pkg/rotate/pass.go", Old: "if err := p.audit(step, \"\"); err != nil {", New: "if err := p.audit(step, \"\"); err != nil && false {",
		Pkg: "./pkg/rotate", Test: "TestNoEffectWithoutAudit", Says: "although the audit log failed",
	},
	{
		Name: "sync-failure-lasts", Rule: "on record",
		File: "pkg/audit/heal.go", Old: "if time.Now().Before(l.ill.next) {", New: "if !l.ill.next.IsZero() {",
		Pkg: "./pkg/audit", Test: "TestAFailedSyncIsHealed", Says: "recording handout: syncing the audit log",
	},
	{
		Name: "heal-forgets-lines", Rule: "on record",
		File: "pkg/audit/heal.go", Old: "for _, c := range chunks {", New: "for _, c := range chunks[:0] {",
		Pkg: "./pkg/audit", Test: "TestAFailedSyncIsHealed", Says: "want a repair and no gap",
	},
	{
		Name: "late-twice", Rule: "on record",
		File: "pkg/rotate/late.go", Old: "*audited = true", New: "*audited = len(e.Caller) > 100",
		Pkg: "./pkg/rotate", Test: "TestFullDiskServesFromMemoryAndRecordsLater", Says: "the log has",
	},
	{
		Name: "ended-attempt-is-shared", Rule: "on record",
		File: "pkg/rotate/patience.go", Old: "a == nil || !now.Before(a.until)", New: "a == nil",
		Pkg: "./pkg/rotate", Test: "TestEachAttemptHasItsTime", Says: "a hand-out while the log hangs took 0s",
	},
	{
		Name: "leaving-fails-others", Rule: "on record",
		File: "pkg/store/sqlite/commits.go", Old: "context.WithDeadline(context.WithoutCancel(ctx), deadline)", New: "context.WithDeadline(ctx, deadline)",
		Pkg: "./pkg/store/sqlite", Test: "TestChangesShareATransaction", Says: "add = context canceled",
	},
	{
		Name: "take-over-forged-lines", Rule: "on record",
		File: "pkg/store/dynamodb/auditend.go", Old: "!hmac.Equal(b.mac, a.mac(at.next, b.mac[:nonceSize], b.lines))", New: "false",
		Pkg: "./pkg/store/dynamodb", Test: "TestAuditForgedBlock", Says: "tells of no gap",
	},
	{
		Name: "query-for-the-end", Rule: "on record",
		File: "pkg/store/dynamodb/auditend.go", Old: "next, err := a.block(ctx, at.after.Seq+1)", New: "next, err := a.last(ctx)",
		Pkg: "./pkg/store/dynamodb", Test: "TestAuditTakesOver", Says: "the log was queried",
	},
	{
		Name: "believe-any-write", Rule: "on record",
		File: "pkg/store/dynamodb/metered.go", Old: "err == nil && consumed(out) == nil", New: "err == nil && consumed(out) == nil && false",
		Pkg: "./pkg/store/dynamodb", Test: "TestAnswersOfSomebodyElse", Says: "Append, answered with an empty object",
	},
	{
		Name: "unrecorded-proof", Rule: "on record",
		File: "pkg/rotate/pass.go", Old: "if err := p.enter(step, answer(out)); err != nil {", New: "if err := p.ctx.Err(); err != nil {",
		Pkg: "./internal/sim", Test: "TestCalmWorld", Says: "saved and not on record",
	},
	{
		Name: "mail-ends-after-its-data", Rule: "told",
		File: "pkg/notify/mail.go", Old: "gomail.WithoutRset(),", New: "",
		Pkg: "./pkg/notify", Test: "TestAMailIsSentWhenItsDataIsTaken", Says: "mails, want 1",
	},
	{
		Name: "told-before-sent", Rule: "told",
		File: "pkg/notify/outbox.go", Old: "case p.Taken && now.Sub(p.At) > giveUpAfter:", New: "case now.Sub(p.At) > giveUpAfter:",
		Pkg: "./pkg/notify", Test: "TestNothingIsGivenUpThatNobodyTook", Says: "sent",
	},
	{
		Name: "shed-counts-as-told", Rule: "told",
		File: "pkg/notify/shelf.go", Old: "\tuntold := func(it Item) {\n\t\tif it.Kind == Trouble {", New: "\tuntold := func(it Item) {\n\t\tif false {",
		Pkg: "./pkg/notify", Test: "TestAFullBookKeepsLeaks", Says: "told later",
	},
	{
		Name: "copy-is-lost", Rule: "told",
		File: "pkg/notify/away.go", Old: "if base.Troubles[user][what] != o {", New: "if false {",
		Pkg: "./pkg/notify", Test: "TestStoreAndMailDownTogether", Says: "want each trouble once",
	},
	{
		Name: "sim-on-record", Rule: "on record",
		File: "pkg/rotate/pass.go", Old: "if err := p.audit(step, \"\"); err != nil {", New: "if err := p.ctx.Err(); err != nil {",
		Pkg: "./internal/sim", Test: "TestCalmWorld", Says: "on record",
	},
}

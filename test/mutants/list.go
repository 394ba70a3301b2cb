package main

var mutants = []mutant{
	{
		Name: "drop-intent", Rule: "orphans die",
		File: "pkg/rotate/act.go", Old: "e.Record = e.Record.WithIntent(id, p.policy, step, p.world.Keys, p.now())", New: "_ = id",
		Pkg: "./pkg/rotate", Test: "TestCrashAnywhere", Says: "orphans die",
	},
	{
		Name: "promote-unproven", Rule: "served works",
		File: "pkg/rotate/plan/next.go", Old: "return d.step(Verify, k.ID, Unproven)", New: "return d.step(Promote, k.ID, Ready)",
		Pkg: "./pkg/rotate/plan", Test: "TestEveryWorld", Says: "promotes . without proof",
	},
	{
		Name: "promote-unsettled", Rule: "served works",
		File: "pkg/rotate/plan/next.go", Old: "case k.Confirmed.IsZero(), d.now.Sub(k.Confirmed) > d.p.ProofTTL, k.Confirmed.Before(k.Ending):", New: "case false:",
		Pkg: "./pkg/rotate/plan", Test: "TestEveryWorld", Says: "without a fresh confirmation",
	},
	{
		Name: "promote-before-it-settled", Rule: "served works",
		File: "pkg/rotate/plan/next.go", Old: "case d.now.Before(k.Proven.Add(d.p.Settle)):", New: "case false:",
		Pkg: "./pkg/rotate/plan", Test: "TestNext", Says: "a_key_that_was_confirmed_sooner_settles_all_the_same",
	},
	{
		Name: "no-successor", Rule: "never zero",
		File: "pkg/rotate/plan/next.go", Old: "d.later(NoSuccessor, k.ID, d.now.Add(d.p.Lag))\n\t\t\tcontinue", New: "return d.step(Deactivate, k.ID, Superseded)",
		Pkg: "./pkg/rotate/plan", Test: "TestEveryWorld", Says: "without a successor",
	},
	{
		Name: "break-promise", Rule: "served works",
		File: "pkg/rotate/plan/next.go", Old: "if !k.Promise.IsZero() {\n\t\tdue = latest(due, k.Promise.Add(p.Grace))\n\t}", New: "",
		Pkg: "./pkg/rotate/plan", Test: "TestEveryWorld", Says: "deactivates a key promised until",
	},
	{
		Name: "count-down", Rule: "served works",
		File: "pkg/rotate/plan/serve.go", Old: "full.After(o.Expiration) {", New: "full.After(o.Expiration) && false {",
		Pkg: "./pkg/rotate", Test: "TestALongerIntervalMidFlight", Says: "is handed out for another",
	},
	{
		Name: "unreadable-in-the-way", Rule: "on time",
		File: "pkg/rotate/run.go", Old: "s.passes+ahead+n, s.creating", New: "s.passes+ahead+0*n, s.creating",
		Pkg: "./pkg/rotate", Test: "TestUnreadableEntriesKeepNobodyWaiting", Says: "the healthy user got",
	},
	{
		Name: "slow-failures-first", Rule: "on time",
		File: "pkg/rotate/rest.go", Old: "return failed(a) - failed(b)", New: "return 0 * (failed(a) - failed(b))",
		Pkg: "./pkg/rotate", Test: "TestSlowFailuresKeepNobodyWaiting", Says: "the healthy user got",
	},
	{
		Name: "unsaved-promise", Rule: "served works",
		File: "pkg/rotate/dispense.go", Old: "promised.Record = e.Record.Promised(o)", New: "promised.Record = e.Record",
		Pkg: "./pkg/rotate", Test: "TestARenamedUserIsFollowed", Says: "before its Expiration",
	},
	{
		Name: "delete-foreign", Rule: "ours only",
		File: "pkg/rotate/plan/next.go", Old: "if !slices.Contains(d.r.Foreign, k.ID) {", New: "if true {\n\t\t\treturn d.step(Delete, k.ID, Orphan)\n\t\t}\n\t\tif !slices.Contains(d.r.Foreign, k.ID) {",
		Pkg: "./pkg/rotate/plan", Test: "TestEveryWorld", Says: "ours only",
	},
	{
		Name: "hasty-orphan", Rule: "ours only",
		File: "pkg/rotate/plan/orphan.go", Old: "if end := mark.At.Add(d.p.Quarantine()); d.now.Before(end) {", New: "if end := mark.At.Add(d.p.Quarantine()); d.now.Before(end) && false {",
		Pkg: "./pkg/rotate/plan", Test: "TestEveryOrphan", Says: "before its owner could say a word",
	},
	{
		Name: "stale-list-is-an-owner", Rule: "orphans die",
		File: "pkg/rotate/plan/orphan.go", Old: "case mark == nil, d.ambiguous():", New: "case true:",
		Pkg: "./pkg/rotate", Test: "TestAStaleListBlocksNobody", Says: "is an orphan, for ever",
	},
	{
		Name: "sim-orphans-die-old-lists", Rule: "orphans die",
		File: "pkg/rotate/plan/orphan.go", Old: "case mark == nil, d.ambiguous():", New: "case true:",
		Pkg: "./internal/sim", Test: "TestOldLists", Says: "orphans die",
	},
	{
		Name: "hasty-quarantine", Rule: "ours only",
		File: "pkg/rotate/plan/orphan.go", Old: "return 2 * p.Lag }", New: "return p.Lag / 4 }",
		Pkg: "./internal/sim", Test: "TestManyHands", Says: "ours only",
	},
	{
		Name: "another-users-list", Rule: "never zero",
		File: "pkg/rotate/plan/orphan.go", Old: "if d.UserID == \"\" {", New: "if false {",
		Pkg: "./pkg/rotate", Test: "TestNotEvenAListIsMistaken", Says: "keys are held",
	},
	{
		Name: "renamed-is-gone", Rule: "on time",
		File: "pkg/rotate/look.go", Old: "err == nil && !rec.Is(u.ID) {", New: "err == nil && u.ID != \"\" {",
		Pkg: "./pkg/rotate", Test: "TestARenamedUserIsFollowed", Says: "keys in an hour after the renaming",
	},
	{
		Name: "either-orphan", Rule: "ours only",
		File: "pkg/rotate/plan/orphan.go", Old: "return candidates > d.r.makeable(calls)", New: "return false",
		Pkg: "./pkg/rotate/plan", Test: "TestEveryOrphan", Says: "keys that . lost calls may have made",
	},
	{
		Name: "burn-restarts-its-minute", Rule: "no leak",
		File: "pkg/rotate/plan/orders.go", Old: "if k.Burned.IsZero() {\n\t\t\tk.Burned = o.At\n\t\t}", New: "k.Burned = o.At",
		Pkg: "./pkg/rotate", Test: "TestBurnKeepsItsTime", Says: "want a minute after the first order",
	},
	{
		Name: "burn-believes-the-answer", Rule: "no leak",
		File: "pkg/rotate/act.go", Old: "if out, err := p.verify(id, 1); err != nil || !out.Refused {", New: "if out, err := p.verify(id, 1); err != nil || !out.Refused && false {",
		Pkg: "./pkg/rotate", Test: "TestBurnIsDoneWhenAWSRefusesTheKey", Says: "that AWS still accepted the key",
	},
	{
		Name: "burn-makes-no-room", Rule: "never zero",
		File: "pkg/rotate/plan/orders.go", Old: "usable && idle && !k.Refused.IsZero():", New: "usable && idle && false:",
		Pkg: "./pkg/rotate/plan", Test: "TestEveryBurn", Says: "never zero: no",
	},
	{
		Name: "operators-failures-are-saved", Rule: "no leak",
		File: "pkg/rotate/pass.go", Old: "if p.private {", New: "if p.private && false {",
		Pkg: "./pkg/rotate", Test: "TestACommandWithoutCredentialsLeavesTheOrderToTheDaemon", Says: "the record has failures",
	},
	{
		Name: "take-back-a-saved-key", Rule: "orphans die",
		File: "pkg/rotate/act.go", Old: "if err == nil {\n\t\t\treturn nil\n\t\t}\n\t\t// The failed save", New: "if err == nil || errors.Is(err, ErrConflict) {\n\t\t\treturn err\n\t\t}\n\t\t// The failed save",
		Pkg: "./pkg/rotate", Test: "TestANewKeyOutlivesALostAnswer", Says: "keys were deleted, want none",
	},
	{
		Name: "forget-before-showing", Rule: "never zero",
		File: "pkg/rotate/operate.go", Old: "if err := show(left); err != nil {", New: "_ = r.forget(ctx, e)\n\tif err := show(left); err != nil {",
		Pkg: "./pkg/rotate", Test: "TestAReleasedSecretIsShownBeforeItGoes", Says: "Give|shown after",
	},
	{
		Name: "ignore-conflict", Rule: "one hand",
		File: "pkg/rotate/save.go", Old: "if !errors.Is(err, ErrConflict) {\n\t\t\treturn fmt.Errorf(\"saving %q: %w\", next.Record.User, err)\n\t\t}\n\t\tfresh,", New: "if !errors.Is(err, ErrConflict) {\n\t\t\treturn fmt.Errorf(\"saving %q: %w\", next.Record.User, err)\n\t\t}\n\t\tif f, ferr := p.Store.Load(ctx, next.Record.User); ferr == nil {\n\t\t\tp.saved.Version = f.Version\n\t\t\tcontinue\n\t\t}\n\t\tfresh,",
		Pkg: "./pkg/rotate", Test: "TestLostRaceIsNotOverwritten", Says: "overwrote",
	},
	{
		Name: "act-on-an-old-look", Rule: "one hand",
		File: "pkg/rotate/save.go", Old: "case !p.looked:", New: "case true:",
		Pkg: "./pkg/rotate", Test: "TestPauseDuringALook", Says: "after a pause that was acknowledged",
	},
	{
		Name: "answer-kept-too-long", Rule: "served works",
		File: "pkg/server/routes.go", Old: "ok && p.(prepared).of == c {", New: "ok {",
		Pkg: "./pkg/server", Test: "TestActiveKey", Says: "after a rotation = ",
	},
	{
		Name: "old-entry-confirmed", Rule: "served works",
		File: "pkg/store/sqlite/cache.go", Old: "if c.entries[user].entry.Version != version {", New: "if c.entries[user].entry.Version > version {",
		Pkg: "./pkg/store/sqlite", Test: "TestLoadIsNeverOld", Says: "Load = version",
	},
	{
		Name: "shutdown-loses-secret", Rule: "orphans die",
		File: "pkg/rotate/save.go", Old: "ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), saveTime)\n\tdefer cancel()\n\tfor {", New: "ctx, cancel := context.WithTimeout(p.ctx, saveTime)\n\tdefer cancel()\n\tfor {",
		Pkg: "./pkg/rotate", Test: "TestShutdownKeepsTheSecret", Says: "secret",
	},
	{
		Name: "believe-any-200", Rule: "never zero",
		File: "internal/awsanswer/awsanswer.go", Old: "if err != nil || !sent || !got || res.StatusCode/100 != 2 {", New: "if err != nil || !sent || !got || true {",
		Pkg: "./pkg/awsiam", Test: "TestAnswersOfSomebodyElseAreUnknown", Says: "SetStatus, answered with a page",
	},
	{
		Name: "believe-anothers-answer", Rule: "served works",
		File: "internal/awsanswer/awsanswer.go", Old: "x.XMLName.Local == operation+\"Response\"", New: "strings.HasSuffix(x.XMLName.Local, \"Response\") && operation != \"\"",
		Pkg: "./pkg/awsiam", Test: "TestAnswersOfSomebodyElseAreUnknown", Says: "answered with another call's answer",
	},
	{
		Name: "believe-any-call", Rule: "served works",
		File: "internal/awscall/awscall.go", Old: "if err := awsanswer.Check(operation, h, res.Header, raw); err != nil {", New: "if err := awsanswer.Check(operation, h, res.Header, raw); err != nil && false {",
		Pkg: "./internal/awscall", Test: "TestAnswersOfSomebodyElse", Says: "answered with a page",
	},
	{
		Name: "retry-create", Rule: "orphans die",
		File: "pkg/awsiam/iam.go", Old: "o.Retryer = aws.NopRetryer{}", New: "_ = o",
		Pkg: "./pkg/awsiam", Test: "TestCreateIsSentOnce", Says: "CreateAccessKey",
	},

	{
		Name: "skip-publication", Rule: "served works",
		File: "pkg/rotate/plan/next.go", Old: "if s, settled := d.publish(k, Unpublished, !d.bereft()); !settled {", New: "if s, settled := d.publish(k, Unpublished, false); !settled && false {",
		Pkg: "./pkg/rotate/plan", Test: "TestEveryWorld", Says: "promotes . unpublished",
	},
	{
		Name: "burn-without-publication", Rule: "served works",
		File: "pkg/rotate/plan/next.go", Old: "d.published,  // required", New: "// required",
		Pkg: "./pkg/rotate/plan", Test: "TestReadersOfEveryWorld", Says: "published: . serves",
	},
	{
		Name: "sim-burn-without-publication", Rule: "served works",
		File: "pkg/rotate/plan/next.go", Old: "d.published,  // required", New: "// required",
		Pkg: "./internal/sim", Test: "TestBurns", Says: "still not published",
	},
	{
		Name: "forget-partial-publication", Rule: "served works",
		File: "pkg/rotate/plan/targets.go", Old: "r.Targets[i] = Target{Name: r.Targets[i].Name}", New: "_ = i",
		Pkg: "./pkg/rotate", Test: "TestAKeyThatWasPublishedAndGivenUp", Says: "still holds the key that was given up",
	},

	{
		Name: "printable-secret", Rule: "no leak",
		File: "pkg/rotate/secret.go", Old: "func (Secret) String() string { return redacted }", New: "func (s Secret) String() string { return s.Reveal() }",
		Pkg: "./pkg/rotate", Test: "TestSecretsDoNotLeak", Says: "secret",
	},
	{
		Name: "stranger-withdraws", Rule: "served works",
		File: "pkg/api/errors.go", Old: "r.ours && (", New: "(",
		Pkg: "./pkg/agent", Test: "TestAStrangersRefusalTakesNothingAway", Says: "the credential is gone",
	},
	{
		Name: "session-outlives-secret", Rule: "no leak",
		File: "pkg/page/page.go", Old: "k.GoodFor(s.mark, p.now())", New: "k.Good(p.now())",
		Pkg: "./pkg/page", Test: "TestSessionEnds", Says: "its_key_has_another_secret",
	},
	{
		Name: "token-without-its-key", Rule: "no leak",
		File: "pkg/server/callers.go", Old: "if err == nil && !owner.External() {", New: "if false {",
		Pkg: "./pkg/server", Test: "TestContainerCredentials", Says: "a token without its API key",
	},
	{
		Name: "metrics-of-others", Rule: "no leak",
		File: "pkg/server/metrics.go", Old: "if s.MetricsOpen {\n\t\t\tsees", New: "if true {\n\t\t\tsees",
		Pkg: "./pkg/server", Test: "TestMetricsRoute", Says: "want ci only",
	},
	{
		Name: "api-key-read-once", Rule: "served works",
		File: "internal/disk/value.go", Old: "\tif v.has {\n\t\tif info", New: "\tif v.has {\n\t\tif true {\n\t\t\treturn v.last, nil\n\t\t}\n\t\tif info",
		Pkg: "./internal/cli", Test: "TestClientsKeyIsReadAgain", Says: "after the file was replaced",
	},

	// Each promise once more, caught by the simulation alone.
	{
		Name: "sim-served-works", Rule: "served works",
		File: "pkg/rotate/plan/next.go", Old: "return d.step(Verify, k.ID, Unproven)", New: "return d.step(Promote, k.ID, Ready)",
		Pkg: "./internal/sim", Test: "TestWeekOfFaults", Says: "served works", Args: []string{"-sim.hours=6"},
	},
	{
		Name: "sim-never-zero", Rule: "never zero",
		File: "pkg/rotate/plan/serve.go", Old: "o.Expiration, o.Roll = now.Add(max(p.Roll(), shortest)+time.Second-1).Truncate(time.Second), true", New: "return Offer{}, false",
		Pkg: "./internal/sim", Test: "TestWeekOfFaults", Says: "never zero", Args: []string{"-sim.hours=24"},
	},
	{
		Name: "sim-ours-only", Rule: "ours only",
		File: "pkg/rotate/plan/next.go", Old: "if !slices.Contains(d.r.Foreign, k.ID) {", New: "if true {\n\t\t\treturn d.step(Delete, k.ID, Orphan)\n\t\t}\n\t\tif !slices.Contains(d.r.Foreign, k.ID) {",
		Pkg: "./internal/sim", Test: "TestManyHands", Says: "ours only", Args: []string{"-sim.hours=24"},
	},
	{
		Name: "sim-ours-only-orphan", Rule: "ours only",
		File: "pkg/rotate/plan/orphan.go", Old: "if sure := mark.At.Add(d.p.doubt()); k.Status == Active && !d.now.Before(sure) {", New: "if false {",
		Pkg: "./internal/sim", Test: "TestManyHands", Says: "ours only", Args: []string{"-sim.hours=48"},
	},
	{
		Name: "sim-orphans-die", Rule: "orphans die",
		File: "pkg/rotate/act.go", Old: "e.Record = e.Record.WithIntent(id, p.policy, step, p.world.Keys, p.now())", New: "_ = id",
		Pkg: "./internal/sim", Test: "TestWeekOfFaults", Says: "orphans die", Args: []string{"-sim.hours=24"},
	},
	{
		Name: "sim-on-time", Rule: "on time",
		File: "pkg/rotate/run.go", Old: "t.Reset(r.Tick)", New: "t.Reset(60 * r.Tick)",
		Pkg: "./internal/sim", Test: "TestCalmWorld", Says: "after its slot in a calm world",
	},
	{
		Name: "sim-one-hand", Rule: "one hand",
		File: "pkg/rotate/lease.go", Old: "version, err := r.Store.Acquire(ctx, user, r.Owner, now, ttl)", New: "version, err := int64(0), ctx.Err()",
		Pkg: "./internal/sim", Test: "TestManyHands", Says: "one hand", Args: []string{"-sim.hours=24"},
	},
	{
		Name: "sim-no-leak-log", Rule: "no leak",
		File: "pkg/rotate/act.go", Old: "out := plan.Outcome{Key: key, Intent: id}", New: "out := plan.Outcome{Key: key, Intent: id}\n\tp.Log.Debug(\"created\", \"pair\", key.ID+\":\"+secret.Reveal())",
		Pkg: "./internal/sim", Test: "TestCalmWorld", Says: "no leak: the log",
	},
	{
		Name: "sim-no-leak-error", Rule: "no leak",
		File: "pkg/rotate/publish.go", Old: "a.Name, unspoken(err, c.Secret))", New: "a.Name, err)",
		Pkg: "./internal/sim", Test: "TestWeekOfFaults", Says: "no leak: (the audit log|a notice|a record's error)", Args: []string{"-sim.hours=6"},
	},
	{
		Name: "sim-local-clock", Rule: "served works",
		File: "pkg/rotate/clock.go", Old: "r.best = clamp(r.wall, r.low, r.high)\n\tt :=", New: "r.low, r.high, r.best = r.wall, r.wall, r.wall\n\tt :=",
		Pkg: "./internal/sim", Test: "TestManyHands", Says: "served works|one hand", Args: []string{"-sim.hours=48"},
	},
	{
		Name: "believe-anybody", Rule: "no leak",
		File: "internal/trust/trust.go", Old: "case e.Link || e.Mode&0o022 == 0 || e.Dir && e.Sticky:", New: "default:",
		Pkg: "./internal/trust", Test: "TestPath", Says: "want a refusal",
	},
	{
		Name: "follow-links", Rule: "no leak",
		File: "internal/disk/folder.go", Old: "case !info.IsDir():", New: "case false:",
		Pkg: "./internal/disk", Test: "TestDescend", Says: "no link is followed",
	},
	{
		Name: "guess-text", Rule: "ours only",
		File: "internal/config/yaml.go", Old: "default:\n\t\treturn node.Value", New: "default:\n\t\tvar v any\n\t\t_ = node.Decode(&v)\n\t\treturn fmt.Sprint(v)",
		Pkg: "./internal/config", Test: "TestTextIsWhatWasWritten", Says: "00123",
	},
	{
		Name: "wiring-undated", Rule: "served works",
		File: "internal/cli/aws.go", Old: "sdk = awsiam.Dated(sdk, c)", New: "sdk = awsiam.Dated(sdk, &rotate.Clock{})",
		Pkg: "./internal/cli", Test: "TestServeHasOneClock", Says: "the rotator is .* away from AWS's time",
	},
	{
		Name: "wiring-own-clock", Rule: "served works",
		File: "internal/cli/wire.go", Old: "Late: s.late, Clock: s.clock}", New: "Late: s.late, Clock: &rotate.Clock{Wall: e.Now}}",
		Pkg: "./internal/cli", Test: "TestServeAsksForTheTime", Says: "want a rolled promise",
	},
	{
		Name: "wiring-health-clock", Rule: "on time",
		File: "internal/cli/wire.go", Old: "s.roster = &rotate.Roster{Store: s.store, Policy: policy, Now: now}",
		New: "s.roster = &rotate.Roster{Store: s.store, Policy: policy, Now: e.Now}",
		Pkg: "./internal/cli", Test: "TestServeHasOneClock", Says: "the roster is .* away from AWS's time",
	},
	{
		Name: "roll-without-time", Rule: "served works",
		File: "pkg/rotate/dispense.go", Old: "if !sure {", New: "if !sure && false {",
		Pkg: "./pkg/rotate", Test: "TestHandOutBeforeAWSHasToldTheTime", Says: "the saved promise moved",
	},
	{
		Name: "suspended-lease", Rule: "one hand",
		File: "pkg/rotate/pass.go", Old: "if p.Clock.corrections() == p.turns && p.Clock.Known() {", New: "if true {",
		Pkg: "./pkg/rotate", Test: "TestASuspendInMidPassEndsIt", Says: "changed something after the suspend",
	},
	{
		Name: "doctor-looks-once", Rule: "ours only",
		File: "internal/doctor/foreign.go", Old: "if records, err = p.records(ctx); err != nil {", New: "if err != nil {",
		Pkg: "./internal/doctor", Test: "TestKeysInFlightAreNotForeign", Says: "does not hold",
	},
	{
		Name: "small-pages", Rule: "on time",
		File: "pkg/awsiam/iam.go", Old: "const largestPage = 1000", New: "const largestPage = 100",
		Pkg: "./pkg/lambda", Test: "TestFiveThousandUsers", Says: "50 users have a key",
	},
	{
		Name: "wait-for-the-selection", Rule: "on time",
		File: "pkg/rotate/once.go", Old: "&& r.recall(ctx) {", New: "&& r.recall(ctx) && false {",
		Pkg: "./pkg/lambda", Test: "TestFiveThousandUsers", Says: "does not wait for the selection",
	},
}

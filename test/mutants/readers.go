package main

// What readers of targets and burned users are owed.
var readers = []mutant{
	{
		Name: "readers-wait-for-iam", Rule: "served works",
		File: "pkg/rotate/pass.go", Old: "if err != nil && p.world.Blind {", New: "if false {",
		Pkg: "./pkg/rotate", Test: "TestReadersDoNotWaitForIAM", Says: "IAM is down",
	},
	{
		Name: "readers-rest-with-the-pass", Rule: "served works",
		File: "pkg/rotate/publish.go", Old: "p.restUntil(user, step.Wake)", New: "_ = step",
		Pkg: "./pkg/rotate", Test: "TestReadersDoNotWaitForIAM", Says: "IAM is down: the target says that the key expired",
	},
	{
		Name: "readers-wait-for-a-burn", Rule: "served works",
		File: "pkg/rotate/pass.go", Old: "p.world.Blind = step.Action != plan.Wait", New: "",
		Pkg: "./pkg/rotate", Test: "TestReadersDoNotWaitForABurnThatFails", Says: "a minute after the order",
	},
	{
		Name: "no-roll-before-promotion", Rule: "served works",
		File: "pkg/rotate/plan/targets.go", Old: "if o.Expires && !t.Until.IsZero() {", New: "if o.Expires && !t.Until.IsZero() && k.Stage == Current {",
		Pkg: "./pkg/rotate", Test: "TestReadersOfAKeyOnItsWay", Says: "the target says that",
	},
	{
		Name: "burn-waits-for-a-lost-call", Rule: "never zero",
		File: "pkg/rotate/plan/create.go", Old: "if free := Quota - n; hurry && (open < free || free == 1 && open < hurried) {", New: "if hurry && false {",
		Pkg: "./pkg/rotate", Test: "TestABurnWhoseCreationIsLost", Says: "no working key",
	},
	{
		Name: "two-keys-for-one-slot", Rule: "ours only",
		File: "pkg/rotate/plan/orphan.go", Old: "room[seen] = max(1, Quota-len(r.Intents[i].Seen))", New: "room[seen] = Quota",
		Pkg: "./pkg/rotate/plan", Test: "TestEveryOrphan", Says: "one of 2 keys that 1 lost calls may have made",
	},
	{
		Name: "pause-keeps-from-a-key", Rule: "never zero",
		File: "pkg/rotate/plan/next.go", Old: "if !d.r.Paused(d.now) || d.r.In(Current) == nil && d.bereft() {", New: "if !d.r.Paused(d.now) {",
		Pkg: "./pkg/rotate", Test: "TestABurnThatFoundNoReplacementInTime", Says: "no working key",
	},
	{
		Name: "window-keeps-from-a-key", Rule: "never zero",
		File: "pkg/rotate/plan/create.go", Old: "why == NoCurrent && !d.bereft()", New: "why == NoCurrent",
		Pkg: "./pkg/rotate", Test: "TestABurnThatFoundNoReplacementInTime", Says: "no working key",
	},
	{
		Name: "burn-ends-without-a-key", Rule: "never zero",
		File: "pkg/rotate/plan/bereft.go", Old: "return d.afterBurn()", New: "return nil",
		Pkg: "./pkg/rotate/plan", Test: "TestEveryBurn", Says: "never zero: not all is well",
	},
	{
		Name: "readers-wait-for-a-pause", Rule: "served works",
		File: "pkg/rotate/plan/targets.go", Old: "return r.Paused(now) && r.Key(id).Stage == Pending", New: "return false",
		Pkg: "./pkg/rotate/plan", Test: "TestReadersOfEveryWorld", Says: "which is on its way, until",
	},
	{
		Name: "readers-keep-a-refused-key", Rule: "served works",
		File: "pkg/rotate/plan/next.go", Old: "return d.step(Verify, k.ID, Unconfirmed) // targets may hold it", New: "_ = k",
		Pkg: "./pkg/rotate/plan", Test: "TestNext$", Says: "readers_may_have_it",
	},
	{
		Name: "sim-burned-user-waits", Rule: "never zero",
		File: "pkg/rotate/plan/create.go", Old: "return d.now, NoCurrent", New: "return map[bool]time.Time{true: d.now, false: d.now.Add(time.Hour)}[d.r.Served.IsZero()], NoCurrent",
		Pkg: "./internal/sim", Test: "TestBurns", Says: "never zero: app",
	},
	{
		Name: "sim-burn-at-once", Rule: "never zero",
		File: "pkg/rotate/plan/orders.go", Old: "case k.Stage == Current && d.now.Sub(since) < burnPatience:", New: "case false:",
		Pkg: "./internal/sim", Test: "TestBurns", Says: "nothing has replaced it",
	},
	{
		Name: "sim-burn-forgets", Rule: "no leak",
		File: "pkg/rotate/plan/orders.go", Old: "default:\n\t\t\treturn d.step(Deactivate, k.ID, Burning)", New: "default:",
		Pkg: "./internal/sim", Test: "TestBurns", Says: "burned: app",
	},
}

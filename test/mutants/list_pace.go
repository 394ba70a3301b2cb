package main

// ofPace are the mutants of how fast IAM is asked to change something, and of
// what is said to come of that.
var ofPace = []mutant{
	{
		Name: "refusals-cut-nothing", Rule: "on time",
		File: "pkg/pace/learn.go", Old: "l.rate = max(slowest, l.slower(now))", New: "l.rate = max(slowest, l.rate, l.slower(now))",
		Pkg: "./pkg/pace", Test: "TestALimitIsFoundAndHeld", Says: "are refused once the limit is found",
	},
	{
		Name: "fading-is-learnt", Rule: "on time",
		File: "pkg/pace/memory.go", Old: "rate != b.begun[c] &&", New: "true &&",
		Pkg: "./pkg/pace", Test: "TestOldKnowledgeFades", Says: "nothing was since",
	},
	{
		Name: "limit-is-tested-all-the-time", Rule: "on time",
		File: "pkg/pace/learn.go", Old: "l.rest = max(rest, time.Duration(perProbe/rate*float64(time.Second)))", New: "l.rest = time.Second",
		Pkg: "./pkg/pace", Test: "TestALimitIsFoundAndHeld", Says: "are refused once the limit is found",
	},
	{
		Name: "limit-is-never-tested", Rule: "on time",
		File: "pkg/pace/learn.go", Old: "l.quiet >= l.rest && l.rate < l.most", New: "l.quiet >= l.rest && l.rate < 0",
		Pkg: "./pkg/pace", Test: "TestALimitThatChanges", Says: "after the limit is back took",
	},
	{
		Name: "little-use-tests-the-limit", Rule: "on time",
		File: "pkg/pace/learn.go", Old: "if !busy || l.phase", New: "if l.phase",
		Pkg: "./pkg/pace", Test: "TestLittleUseTestsNothing", Says: "after an hour of little use",
	},
	{
		Name: "pace-forgets", Rule: "on time",
		File: "pkg/pace/memory.go", Old: "k.begin(b.begun[c])", New: "k.begin(faded(l, k.learn.most, now) + 50)",
		Pkg: "./pkg/pace", Test: "TestWhatWasLearntIsRemembered", Says: "of process 2",
	},
	{
		Name: "pace-never-forgets", Rule: "on time",
		File: "pkg/pace/memory.go", Old: "return l.Rate + max(0, most-l.Rate)*old", New: "return l.Rate + max(0, most-l.Rate)*old*0",
		Pkg: "./pkg/pace", Test: "TestOldKnowledgeFades", Says: "the rate is 1, want 5.5",
	},
	{
		Name: "one-bucket-for-all-actions", Rule: "on time",
		File: "pkg/pace/pace.go", Old: "b.buckets[call].wait(ctx)", New: "b.buckets[rotate.CreateAccessKey].wait(ctx)",
		Pkg: "./pkg/pace", Test: "TestCreationsDelayNothingElse", Says: "beside 500 creations took",
	},
	{
		Name: "actions-share-their-turns", Rule: "on time",
		File: "pkg/rotate/pace.go", Old: "p.gates.ready[call].join(p.urgency)", New: "p.gates.ready[CreateAccessKey].join(p.urgency)",
		Pkg: "./pkg/awsiam", Test: "TestActionsOfACrowdShareNothing", Says: "what the pace of one action allows",
	},
	{
		Name: "sdk-repeats-throttled-calls", Rule: "on time",
		File: "pkg/awsiam/paced.go", Old: "return !throttled(err) && r.Retryer", New: "return r.Retryer",
		Pkg: "./pkg/awsiam", Test: "TestThrottledCallsAreLeftToThePace", Says: "sent 3 times",
	},
	{
		Name: "pace-without-its-store", Rule: "on time",
		File: "internal/cli/wire.go", Old: "aws.SDK.Pace.Settings, s.pace = s.store, aws.SDK.Pace", New: "s.pace = aws.SDK.Pace",
		Pkg: "./internal/cli", Test: "TestTheStoreRemembersThePace", Says: "began with 0 a second",
	},
	{
		Name: "everything-is-feasible", Rule: "on time",
		File: "pkg/rotate/plan/capacity.go", Old: "c.Feasible = c.Needed <= c.Allowed", New: "c.Feasible = c.Needed <= 1e9",
		Pkg: "./internal/cli", Test: "TestTooManyUsersAreToldEverywhere", Says: "will be overdue",
	},
	{
		Name: "what-was-found-does-not-count", Rule: "on time",
		File: "internal/cli/capacity.go", Old: "return min(r, cfg.IAM.Rate)", New: "return max(r, cfg.IAM.Rate)",
		Pkg: "./internal/cli", Test: "TestTooManyUsersAreToldEverywhere", Says: "will be overdue",
	},
	{
		Name: "deploy-goes-by-iam-rate", Rule: "on time",
		File: "internal/cli/preflight.go", Old: "capacityFor(p.cfg, names, p.learnt)", New: "capacityFor(p.cfg, names, nil)",
		Pkg: "./internal/cli", Test: "TestADeploymentGoesByTheRatesThatAreLearnt", Says: "CreateAccessKey allows 0.0075",
	},
	{
		Name: "old-rates-are-told-as-new", Rule: "on time",
		File: "pkg/pace/memory.go", Old: "found[c] = faded(l, limit, now)", New: "found[c] = faded(l, l.Rate, now)",
		Pkg: "./pkg/pace", Test: "TestOldKnowledgeFades", Says: "want what the budget begins with",
	},
}

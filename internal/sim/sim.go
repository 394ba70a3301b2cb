// Package sim runs the real rotator against an AWS that misbehaves, in virtual
// time, and watches the promises of the design being kept: clients use what
// they were handed until its Expiration, and every refusal is a violation.
//
// It must be called inside a testing/synctest bubble. The same Config gives
// the same faults; only tests import it.
package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// Config of one run. Everything random follows from Seed.
type Config struct {
	Seed    uint64
	Users   int
	For     time.Duration
	Daemons int           // rotators that share the store; default 1
	Workers int           // of each
	Idle    bool          // nobody asks for keys and uses them: for many users
	Pace    rotate.Pace   // of all daemons; nil: none
	Tight   bool          // the pace does not allow the schedule: to be overdue is no violation
	Warm    time.Duration // Late, Behind and Gap are measured from then on
	Policy  plan.Policy   // default: the preset "default"
	Faults  Faults
	Log     io.Writer                   // nil: discarded
	Terse   bool                        // only what is logged at Info and above is made and looked through
	Until   func(violation string) bool // the run ends at the first violation for which it is true; nil: none
}

// Faults says what goes wrong. The zero value is a perfect world.
type Faults struct {
	Consistency bool          // IAM's answers lag, lists for longer than [plan.Policy.Lag]; new keys flap
	OldLists    time.Duration // lists lag by up to this instead
	Errors      float64       // chance of a call failing before, and again as much after its effect
	Late        float64       // chance of a change taking effect after its caller gave up
	Ending      float64       // the same, for what takes keys away only
	Store       float64       // chance of a store operation failing before, and again after its effect
	Crash       time.Duration // mean time between crashes of a daemon; 0: none
	Publish     float64       // chance of a publisher failing before, and again after its effect
	Copies      time.Duration // mean time between outages of the optional publisher of up to an hour; 0: there is none
	Outages     time.Duration // mean time between outages of IAM or STS of up to an hour; 0: none
	Storms      time.Duration // mean time between throttling storms; 0: none
	Foreign     time.Duration // mean time between foreign keys appearing and vanishing again; 0: none
	Vanish      time.Duration // mean time between users being deleted and made again; 0: none
	Burn        time.Duration // mean time between orders to burn a key; 0: none
	Restore     time.Duration // mean time between restorations of the store from an older copy; 0: none
	ClockSteps  time.Duration // mean time between steps of a daemon's clock, both ways; 0: none
}

// Result of one run.
type Result struct {
	Violations []string // empty: every promise was kept
	Rotations  int      // promotions
	Handouts   int
	Uses       int // signed requests of the clients
	Crashes    int
	Burns      int
	Restores   int           // of the store from an older copy
	Reclaimed  int           // keys made inactive as orphans that their owners made active again
	Left       int           // keys in the end of which one may be an orphan: reported as foreign, not touched
	Refusals   int           // of hand-outs, while no key was ready
	Late       time.Duration // the latest promotion after its slot
	Behind     time.Duration // the longest time between a key's creation and its promotion
	Gap        time.Duration // the longest time between two promotions of a user, or before the first
	Overdue    int           // users whose key was later than it should be, when the time was up
}

func (r Result) String() string {
	return fmt.Sprintf("%d rotations, %d hand-outs, %d uses, %d crashes, %d burns, %d restores, %d reclaimed, %d left, %d not ready, latest "+
		"promotion %s after its slot, %d violations",
		r.Rotations, r.Handouts, r.Uses, r.Crashes, r.Burns, r.Restores, r.Reclaimed, r.Left, r.Refusals,
		r.Late.Round(time.Second), len(r.Violations))
}

type simulation struct {
	Config
	aws   *rotatetest.AWS
	store *rotatetest.MemStore
	log   *slog.Logger
	rng   *rand.Rand // only used before and between runs of goroutines: see dice

	mu       sync.Mutex
	result   Result
	foreign  map[string]bool              // keys that keyrot did not create
	excused  map[string]time.Time         // users whose keys somebody else spoiled, until when
	promised map[string]time.Time         // latest Expiration handed out or published, by key
	recorded map[string]string            // latest audited step, by user
	hands    map[string]*process          // who is changing a user's keys right now
	holds    map[string]rotate.Credential // what the required publisher's target holds, by user
	burned   map[string]burnt             // by key
	bereft   map[string]time.Time         // users whose served key is burned and not replaced, since when
	lacking  map[string]time.Time         // users that a restoration may leave without a key, until when
	troubled map[string]time.Time         // when something failed last, by user
	quick    bool                         // nothing but publishers fails
	optional target                       // of the optional publisher
	secrets  secrets                      // that AWS handed out
	lines    sync.Mutex                   // protects line
	line     []byte                       // what is being looked through
	proofs   map[string]bool              // keys whose proof is on record
	warm     time.Time
	made     map[string]time.Time // when keys were made that are not promoted yet
	fresh    map[string]time.Time // when the latest key of a user was promoted
	house    house                // what can be stopped
	lives    []*process           // that run, or died a moment ago
	others   bool                 // somebody else makes keys by hand
	stop     context.CancelFunc   // ends the run
	stopped  bool                 // Until has ended it
}

// Run simulates c and returns what happened.
func Run(ctx context.Context, c Config) Result {
	s := &simulation{
		Config: c, foreign: map[string]bool{}, excused: map[string]time.Time{}, promised: map[string]time.Time{},
		recorded: map[string]string{}, hands: map[string]*process{}, holds: map[string]rotate.Credential{}, burned: map[string]burnt{},
		bereft: map[string]time.Time{}, lacking: map[string]time.Time{}, troubled: map[string]time.Time{}, proofs: map[string]bool{},
		made: map[string]time.Time{}, fresh: map[string]time.Time{},
		rng: rand.New(rand.NewPCG(c.Seed, 1)), store: &rotatetest.MemStore{},
	}
	level := slog.LevelDebug
	if c.Terse {
		level = slog.LevelInfo
	}
	s.log = slog.New(s.confidant(level, c.Log))
	if s.Daemons == 0 {
		s.Daemons = 1
	}
	s.Policy = s.Policy.WithDefaults()
	s.setUp()
	s.others = c.Faults.Foreign > 0
	s.quick = c.Faults == Faults{Consistency: true, Publish: c.Faults.Publish, Burn: c.Faults.Burn, Restore: c.Faults.Restore}
	s.optional.outages = s.outages(s.Faults.Copies)
	ctx, cancel := context.WithTimeout(ctx, c.For)
	defer cancel()
	s.stop = cancel
	var wg sync.WaitGroup
	for i := range s.Daemons {
		wg.Go(func() { s.daemon(ctx, i) })
	}
	s.warm = time.Now().Add(s.Warm)
	for i := range s.Users {
		s.fresh[userName(i)] = s.warm
		if !s.Idle {
			wg.Go(func() { s.client(ctx, i) })
		}
	}
	for _, t := range s.troubles() {
		wg.Go(func() { t(ctx) })
	}
	wg.Wait()
	if s.stopped {
		return s.result
	}
	s.store.Look(func(r plan.Record) {
		s.result.Gap = max(s.result.Gap, time.Since(s.fresh[r.User]))
		if _, late := plan.Overdue(r, s.policyOf(r.User), time.Now()); late {
			s.result.Overdue++
		}
	})
	rotations := s.result.Rotations
	s.settle()
	s.result.Rotations = rotations
	return s.result
}

func (s *simulation) setUp() {
	a := &rotatetest.AWS{Seed: s.Seed, Log: s.watch}
	if s.Faults.Consistency {
		a.NewKey = rotatetest.Delay{Max: 8 * time.Second, Flap: 4 * time.Second}
		a.OldKey = rotatetest.Delay{Max: 5 * time.Second}
		a.List = rotatetest.Delay{Max: s.lists(), Flap: 3 * time.Second}
		if s.Faults.OldLists > 0 {
			a.List.Max = s.Faults.OldLists
		}
		a.Quota = rotatetest.Delay{Max: 3 * time.Second}
		a.Usage = rotatetest.Delay{Min: time.Minute, Max: 2 * time.Hour}
	}
	a.Errors, a.Lost, a.Late = s.Faults.Errors, s.Faults.Errors, s.Faults.Late
	a.Ending = s.Faults.Ending
	a.LateBy = rotatetest.Delay{Min: time.Second, Max: 20 * time.Second}
	if s.Faults.Consistency {
		a.Latency = rotatetest.Delay{Min: 20 * time.Millisecond, Max: 3 * time.Second}
		a.Sleep = func(ctx context.Context, d time.Duration) error {
			pause(ctx, d)
			return ctx.Err()
		}
	}
	for i := range s.Users {
		a.AddUser(userName(i), "/app/", nil)
	}
	a.Spells = s.spells()
	s.aws = a
}

// lists is how long IAM's lists lag at most: longer than keyrot reckons with.
func (s *simulation) lists() time.Duration { return s.Policy.Lag * 3 / 2 }

// spells draws outages and throttling storms beforehand.
func (s *simulation) spells() []rotatetest.Spell {
	var all []rotatetest.Spell
	start := time.Now()
	draw := func(every time.Duration, make func(from time.Time) rotatetest.Spell) {
		if every <= 0 {
			return
		}
		for at := s.exp(every); at < s.For; at += s.exp(every) {
			all = append(all, make(start.Add(at)))
		}
	}
	draw(s.Faults.Outages, func(from time.Time) rotatetest.Spell {
		both := s.rng.IntN(3)
		to := from.Add(time.Duration(s.rng.Int64N(int64(time.Hour))))
		return rotatetest.Spell{From: from, To: to, IAM: both != 1, STS: both != 0}
	})
	draw(s.Faults.Storms, func(from time.Time) rotatetest.Spell {
		to := from.Add(time.Duration(s.rng.Int64N(int64(5 * time.Minute))))
		return rotatetest.Spell{From: from, To: to, IAM: true, Err: rotate.ErrThrottled, Chance: 0.8}
	})
	return all
}

// exp draws an exponentially distributed time with the given mean.
func (s *simulation) exp(mean time.Duration) time.Duration {
	return time.Duration(s.rng.ExpFloat64() * float64(mean))
}

// dice returns randomness of its own for one goroutine.
func (s *simulation) dice(role string, n int) *rand.Rand {
	var h uint64 = 14695981039346656037
	for _, b := range []byte(role) {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return rand.New(rand.NewPCG(s.Seed^h, uint64(n)))
}

func (s *simulation) policyOf(user string) plan.Policy {
	p := s.Policy
	p.Phase = plan.PhaseOf(user, p.RotateEvery)
	return p
}

// notReady judges a hand-out that was refused: once a user was served, there
// is always something to serve, unless the store itself failed or somebody
// else took the key away.
func (s *simulation) notReady(user string, served bool, err error) {
	s.note(func() { s.result.Refusals++ })
	if errors.Is(err, rotate.ErrNoTime) { // AWS could not be asked since the server started
		return
	}
	if served && errors.Is(err, rotate.ErrNoKeyReady) && !errors.Is(err, errStore) && !s.isExcused(user) && !s.isBereft(user) {
		s.violation("never zero: %s: %v", user, err)
	}
}

// watch sees every call that AWS gets.
func (s *simulation) watch(c rotatetest.Call) {
	if c.Op != rotatetest.UpdateKey && c.Op != rotatetest.DeleteKey {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.foreign[c.KeyID] {
		s.add(fmt.Sprintf("ours only: %s of the foreign key %s of %s", c.Op, c.KeyID, c.User))
	}
	if _, burned := s.burned[c.KeyID]; burned {
		return
	}
	if until := s.promised[c.KeyID]; c.At.Before(until) && c.Effect {
		s.add(fmt.Sprintf("served works: %s of %s, promised for another %s", c.Op, c.KeyID, until.Sub(c.At)))
	}
}

func (s *simulation) violation(format string, args ...any) {
	at := time.Now().UTC().Format("01-02 15:04:05.000 ")
	s.note(func() { s.add(at + fmt.Sprintf(format, args...)) })
}

// add notes a violation, which may end the run; s.mu is held.
func (s *simulation) add(v string) {
	s.result.Violations = append(s.result.Violations, v)
	if s.Until != nil && s.Until(v) {
		s.stopped = true
		s.stop()
	}
}

func (s *simulation) note(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// pause waits for d or until ctx ends; if that is not by its deadline, for d all
// the same, which takes no time here.
func pause(ctx context.Context, d time.Duration) {
	if end, ok := ctx.Deadline(); ok && time.Until(end) > d && ctx.Err() == nil {
		time.Sleep(d) //nolint:forbidigo // virtual time; no timer, channel and select is needed
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

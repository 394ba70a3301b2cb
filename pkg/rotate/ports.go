package rotate

import (
	"context"
	"errors"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// Sentinels that decisions are made on. Adapters wrap them with %w.
var (
	ErrNotFound    = errors.New("not found")                           // Store: no such entry
	ErrConflict    = errors.New("changed by another process")          // Store: compare-and-swap lost
	ErrLeased      = errors.New("leased by another process")           // Store: somebody else acts on the user
	ErrNoUser      = errors.New("no such IAM user")                    // IAM: NoSuchEntity for the user
	ErrNoKey       = errors.New("no such access key")                  // IAM: NoSuchEntity for the key
	ErrLimit       = errors.New("access key quota exceeded")           // IAM: LimitExceeded
	ErrThrottled   = errors.New("throttled")                           // IAM: Throttling and kin
	ErrDenied      = errors.New("access denied")                       // IAM: AccessDenied
	ErrNoIdentity  = errors.New("no AWS credentials")                  // IAM: the call could not be signed, nothing was sent
	ErrRefused     = errors.New("key not accepted")                    // STS refused the key itself
	ErrNoUsers     = errors.New("no user is selected")                 // selection is empty
	ErrNoKeyReady  = errors.New("no working key")                      // hand-out: nothing to give now
	ErrNotSelected = errors.New("not among the selected users")        // an option names a user outside
	ErrForeignKey  = errors.New("user has keys that are not keyrot's") // enrolment refused
	ErrUnreadable  = errors.New("the stored entry cannot be read")     // a pass that ended for it
	ErrManagedAs   = errors.New("user is managed under another name")  // it was renamed in IAM
	ErrNameTaken   = errors.New("name is that of another user still")  // who was renamed in IAM
)

// User is an IAM user as selection finds it.
type User struct {
	Name string
	ID   string // AIDA…, unique for ever
	ARN  string
	Path string
	Tags map[string]string // nil when tags were not asked for
}

// IAM is what the rotator needs of AWS. Implementations must be safe for
// concurrent use, paginate, and translate errors to the sentinels above. Reads
// and idempotent writes may be retried inside; Create must not be.
type IAM interface {
	// User looks the user up. ErrNoUser if IAM says there is none.
	User(ctx context.Context, name string) (User, error)
	// Keys lists all access keys of the user. ErrNoUser if there is none.
	Keys(ctx context.Context, user string) ([]plan.Key, error)
	// LastUsed returns when the key last signed a request as IAM knows it
	// (minutes to hours late); zero if never.
	LastUsed(ctx context.Context, keyID string) (time.Time, error)
	// Create calls CreateAccessKey exactly once. Any error other than
	// ErrLimit, ErrDenied, ErrNoIdentity, ErrNoUser and ErrThrottled means
	// "unknown".
	Create(ctx context.Context, user string) (plan.Key, Secret, error)
	// SetStatus calls UpdateAccessKey. ErrNoKey if the key is gone.
	SetStatus(ctx context.Context, user, keyID string, s plan.Status) error
	// Delete calls DeleteAccessKey. A key that is already gone is success.
	Delete(ctx context.Context, user, keyID string) error
	// Verify makes one sts:GetCallerIdentity call signed with the pair.
	// nil: AWS accepted it and it belongs to u. ErrRefused: AWS answered and
	// does not accept the pair (yet). Anything else: unknown.
	Verify(ctx context.Context, u User, keyID string, s Secret) error
}

// Entry is all that the store holds about one user.
type Entry struct {
	Record  plan.Record
	Secrets map[string]Secret // by access key id; sealed at rest
	// Due is when the user needs looking at next; the store's due index is
	// ordered by it. Zero: as soon as possible.
	Due time.Time
	// Creates says that a new key is all that it is then about to need: it comes
	// after all others that are due.
	Creates bool
	// Version is the compare-and-swap token: 0 for an entry that was never
	// saved, otherwise as the store returned it.
	Version int64
	// Leave, if it is set, is the owner of a lease that Save gives up together
	// with saving, as Release would. Load and List leave it empty.
	Leave string
}

// Unreadable is what List returns in place of an entry whose record cannot be
// read. Load of the user fails.
func Unreadable(user string, version int64, due time.Time, cause error) Entry {
	rec := plan.Record{User: user, Enrolled: due, Slot: due, Waiting: plan.Unreadable, Since: due, Error: cause.Error()}
	return Entry{Record: rec, Version: version, Due: due}
}

// Store keeps entries. Implementations must be durable when Save returns,
// safe for concurrent use by several goroutines and processes, and must not
// retain or change what they are given. A store never loses a secret: a Save
// that cannot be completed leaves the old entry readable.
type Store interface {
	// Load returns the entry, secrets opened. ErrNotFound if there is none.
	Load(ctx context.Context, user string) (Entry, error)
	// Save writes e if the stored version still is e.Version (0: no entry
	// exists) and returns the new version. ErrConflict otherwise.
	Save(ctx context.Context, e Entry) (int64, error)
	// Remove deletes the entry if its version is version, ErrConflict
	// otherwise. An entry that is gone is success: an earlier call whose
	// answer was lost may have removed it.
	Remove(ctx context.Context, user string, version int64) error
	// List returns all entries ordered by user, without secrets. One whose
	// record cannot be read is [Unreadable]: it hides no other.
	List(ctx context.Context) ([]Entry, error)
	// Changes returns what was saved since mark, which an earlier call returned;
	// 0 is the beginning. [Roster] asks for it again and again.
	Changes(ctx context.Context, mark int64) (Changes, error)
	// Due returns up to limit users whose Due is not after t, earliest first: of
	// those whose Creates is as given.
	Due(ctx context.Context, t time.Time, creates bool, limit int) ([]string, error)
	// Acquire takes the user's lease for owner until now+ttl, or extends it
	// if owner holds it already. ErrLeased while somebody else holds it. The
	// lease of a crashed process ends by itself. now is the caller's clock. It
	// returns the version that the entry then has, 0 if there is none: what was
	// loaded before is still so if it has that version.
	Acquire(ctx context.Context, user, owner string, now time.Time, ttl time.Duration) (version int64, err error)
	// Release gives the lease up; not holding it is no error.
	Release(ctx context.Context, user, owner string) error
}

// Changes is what a store has saved since a mark.
type Changes struct {
	Entries []Entry // without secrets, each user once, in no order; see [Unreadable]
	// Whole: Entries are all that the store holds, and users that are not among
	// them are gone. It always is so at mark 0, and when users were removed.
	Whole bool
	// Costly: the store can only be read as a whole, so ask seldom.
	Costly bool
	Mark   int64 // for the next call
}

// Settings keeps a few small named values beside the entries (signing keys,
// API keys, the audit tail), sealed at rest. The same guarantees as Store.
type Settings interface {
	// Setting returns the value and its version. ErrNotFound if unset.
	Setting(ctx context.Context, name string) (value []byte, version int64, err error)
	// SaveSetting writes the value if the stored version still is version (0:
	// unset) and returns the new one. ErrConflict otherwise. A nil value
	// deletes the setting; one that is gone is success, as for Remove.
	SaveSetting(ctx context.Context, name string, value []byte, version int64) (int64, error)
	// SettingNames lists the names that begin with prefix, sorted.
	SettingNames(ctx context.Context, prefix string) ([]string, error)
}

// Handout says when a caller was given a key of a user.
type Handout struct {
	Caller string    `json:"caller"`
	User   string    `json:"user"`
	Key    string    `json:"key"`  // access key id
	Addr   string    `json:"addr"` // where the latest request came from
	First  time.Time `json:"first"`
	Last   time.Time `json:"last"` // may be a few seconds early: see RecordHandout
}

// Handouts remembers which caller holds which key. The audit log has every
// single hand-out; this is its index, which the in-use gate asks. Safe for
// concurrent use by several goroutines and processes.
type Handouts interface {
	// RecordHandout notes that caller was given the key at at. What changes
	// Holders is durable when it returns; an implementation may leave out a
	// repetition (same caller, user, key and address) within 10 s of one that
	// it has recorded.
	RecordHandout(ctx context.Context, caller, user, keyID, addr string, at time.Time) error
	// Holders returns the callers, sorted, whose latest hand-out of the user
	// is the key.
	Holders(ctx context.Context, user, keyID string) ([]string, error)
	// WhoHas returns who was ever given the key, latest first, one element
	// for each caller.
	WhoHas(ctx context.Context, keyID string) ([]Handout, error)
}

// Event is one line of the audit log. It never holds a secret.
type Event struct {
	Time   time.Time `json:"time"`
	Action string    `json:"action"` // a plan.Action, "handout", or an operator's command
	User   string    `json:"user,omitempty"`
	UserID string    `json:"user_id,omitempty"`
	Key    string    `json:"key,omitempty"` // whole access key id
	Reason string    `json:"reason,omitempty"`
	Due    time.Time `json:"due,omitzero"` // when it was planned for
	Caller string    `json:"caller,omitempty"`
	Addr   string    `json:"addr,omitempty"`
	Actor  string    `json:"actor,omitempty"`  // process or operator that acts
	Result string    `json:"result,omitempty"` // "" before the effect; "ok" or the error after it
	// More says that the caller appends more, or calls what [Rotator.Recorded] is
	// called for: a log may put off until then what it does for its lines together.
	// The event itself is as durable as any. It is not recorded.
	More bool `json:"-"`
}

// Audit records events. Append returns once the event is as durable as the
// log is configured to be; if it fails, the caller must not go on with what it
// was about to do. Safe for concurrent use.
type Audit interface {
	Append(ctx context.Context, e Event) error
}

// Publisher copies a proven pair to somewhere consumers read it. Publish is
// idempotent: the same pair twice is one publication.
type Publisher interface {
	Name() string
	Traits() Traits
	Publish(ctx context.Context, c Credential) error
}

// Traits say how a publisher is to be treated.
type Traits struct {
	Timeout  time.Duration // bound on one Publish, at most LongestPublication; default 15 s
	Expires  bool          // readers are told the Expiration, so it is published again before it passes
	Compares bool          // Publish reads first and changes nothing if the pair is there, so it is repeated from time to time
	// Covers reports whether the target concerns the user; Publish is not called
	// for others. nil: it concerns all.
	Covers func(user string) bool
}

// Credential is a pair as it is handed out or published.
type Credential struct {
	User       string
	UserID     string
	KeyID      string
	Secret     Secret
	Created    time.Time
	Expiration time.Time
}

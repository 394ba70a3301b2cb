// Package rotate carries out what package plan decides. It owns the loop
// observe → plan → audit → act → save, the scheduler around it, the hand-out
// of credentials, and the interfaces through which it reaches AWS, the store,
// the audit log and the publishers. Daemon, cron, Lambda and --dry-run all run
// this one loop.
//
// It must not import net/http or any third-party module.
package rotate

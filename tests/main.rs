//! The tests of the library from outside, in one program, so that it is linked once. What needs a program of its own has one:
//! `allocation` counts what is allocated, `process` forks, and `schedules` is compiled with another flag.

mod archive;
mod backup;
mod crash;
mod damage;
mod damage_everywhere;
mod expiry;
mod faults;
mod feed;
mod format_doc;
mod golden;
mod interval;
mod keys_from;
mod log_alone;
mod model;
mod support;
mod transactions;
mod verify;

//! `kvwal` used as a person would, mistakes included.

mod backup;
mod damage;
mod data;
mod documents;
mod dump_load;
mod generated;
mod interrupted;
mod output;
mod refused;
mod restore;
mod support;
mod tail;
mod terminal;

//! What the daemon does when something has changed: the file, the devices, or what ENIs are used for.

use super::apply::{self, Applied, Goal};
use super::pool::Change;
use super::{Daemon, RunError, notify, read, resolve};
use crate::host::Resolved;
use crate::neighbours;
use crate::tenants::Tenants;
use sd_notify::NotifyState;
use std::collections::BTreeSet;
use tracing::{error, info, warn};
use weir_path::tables::Holder;

impl Daemon {
    /// Reads the file again. A mistake in it changes nothing.
    pub(super) async fn reload(&mut self) {
        // In one message, as the service manager wants them (sd_notify(3)).
        let reloading = [Ok(NotifyState::Reloading), NotifyState::monotonic_usec_now()];
        notify(&reloading.into_iter().flatten().collect::<Vec<_>>());
        let status = match self.try_reload().await {
            Ok(()) => {
                info!(epoch = ?self.dataplane.tables().epoch().ok(), "the new configuration is in force");
                self.status()
            }
            Err(why) => {
                match &why {
                    RunError::Invalid(invalid) => {
                        error!("the configuration in force stays:\n{why}");
                        format!("reload refused: {}", invalid.summary())
                    }
                    other => {
                        error!("the configuration in force stays: {other}");
                        // A status is one line.
                        format!("reload refused: {other}").replace('\n', " ")
                    }
                }
            }
        };
        notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
    }

    async fn try_reload(&mut self) -> Result<(), RunError> {
        let document = read(&self.path)?;
        let config = document.parse().map_err(RunError::Invalid)?;
        if config.dataplane != self.config.dataplane {
            return Err(RunError::NeedsRestart);
        }
        let resolved = resolve(&document, &config, &self.host).await?;
        let (old_document, old_config) =
            (std::mem::replace(&mut self.document, document), std::mem::replace(&mut self.config, config));
        if let Err(why) = self.put_in_force(resolved).await {
            (self.document, self.config) = (old_document, old_config);
            return Err(why);
        }
        // A new configuration is right in everything.
        self.report_left_out(&Resolved::default());
        Ok(())
    }

    /// Brings the dataplane in line with the devices there are. What is missing is left out until it comes back.
    pub(super) async fn settle(&mut self, why: &'static str) {
        let resolved = match self.host.resolve(&self.config).await {
            Ok(resolved) => resolved,
            Err(error) => {
                self.unsettled = true;
                return warn!("{why}: {error}");
            }
        };
        self.report_left_out(&resolved);
        let settled = match self.is_news(&resolved).await {
            // Most events are of devices that nobody named, or of what was done just now.
            Ok(false) => self.clear_away(&resolved).await,
            Ok(true) => self.put_in_force(resolved).await,
            Err(error) => Err(error),
        };
        if let Err(error) = settled {
            self.unsettled = true;
            warn!("{why}, but it could not be followed; trying again: {error}");
        }
    }

    /// Whether the tables were made for other devices, or other addresses of the host's.
    async fn is_news(&mut self, resolved: &Resolved) -> Result<bool, RunError> {
        let is_other = self.in_force.as_ref().is_none_or(|it| it.devices() != resolved.devices());
        let tables = self.dataplane.tables();
        Ok(is_other || self.enis.look(&self.config, resolved, &self.host, tables).await?)
    }

    /// Says what is left out, once each time it changes.
    pub(super) fn report_left_out(&mut self, resolved: &Resolved) {
        let left_out: BTreeSet<_> = resolved.problems.iter().map(ToString::to_string).collect();
        left_out.difference(&self.left_out).for_each(|problem| warn!("on this host: {problem}"));
        self.left_out.difference(&left_out).for_each(|problem| info!("no longer so: {problem}"));
        self.left_out = left_out;
    }

    /// Takes away what has drained since, where something was left to do.
    async fn clear_away(&mut self, resolved: &Resolved) -> Result<(), RunError> {
        if self.unsettled {
            let goal = Goal::new(&self.config, self.hash_key, resolved, &self.enis, &self.tenants);
            self.unsettled = apply::clear_away(&mut self.dataplane, &goal)?;
            self.bring_up(resolved).await;
        }
        Ok(())
    }

    /// Brings everything in line with the configuration and these devices.
    pub(super) async fn put_in_force(&mut self, resolved: Resolved) -> Result<(), RunError> {
        // Where it fails, all of it is tried again.
        (self.in_force, self.unsettled) = (None, true);
        let tables = self.dataplane.tables();
        self.enis.look(&self.config, &resolved, &self.host, tables).await?;
        if self.enis.are_wanted(&self.config) {
            // Afresh: what was counted before an ENI began to drain must not release it.
            self.enis.count(tables)?;
            self.enis.step(&self.config);
        }
        self.make(resolved).await
    }

    /// Looks at the ports in use, and follows with ENIs.
    pub(super) async fn look_after_enis(&mut self) {
        let Some(resolved) = self.in_force.take() else { return };
        if let Err(error) = self.enis.look_at_ports(self.dataplane.tables()) {
            self.in_force = Some(resolved);
            return warn!("cannot tell which ports are in use: {error}");
        }
        self.enis.hear(&self.config, &resolved, &self.host).await;
        let done = match self.enis.step(&self.config) {
            Change::Tables => self.make(resolved).await,
            Change::Written | Change::None => {
                self.in_force = Some(resolved);
                self.enis.keep(&self.store).map_err(RunError::from)
            }
        };
        if let Err(error) = done {
            self.unsettled = true;
            warn!("ENIs could not be followed; trying again: {error}");
        }
    }

    /// Makes the tables, and what goes with them, of the configuration, these devices and the pool.
    async fn make(&mut self, resolved: Resolved) -> Result<(), RunError> {
        (self.in_force, self.unsettled) = (None, true);
        // First: what is in the tables and in no file would be nobody's after a crash.
        self.enis.keep(&self.store)?;
        let tenants = self.number_tenants()?;
        let goal = Goal::new(&self.config, self.hash_key, &resolved, &self.enis, &tenants);
        let claims = neighbours::claims(&self.config, &goal.wanted, &self.enis.pool);
        let let_in = neighbours::filters(&claims, &goal.wanted);
        self.filters.open(let_in, &self.host, &self.store).await;
        let Applied { unsettled, links, judging } = apply::apply(&mut self.dataplane, &goal)?;
        self.unsettled = unsettled;
        self.tenants = tenants;
        self.enis.pool.in_force();
        self.enis.keep(&self.store)?;
        self.neighbours.renew(&claims, &links, &self.dataplane);
        self.filters.close(&self.host, &self.store).await;
        self.save(&resolved);
        self.bring_up(&resolved).await;
        if self.judge(judging) {
            self.in_force = Some(resolved);
        } else {
            self.unsettled = true;
        }
        Ok(())
    }

    /// The numbers of the configuration's tenants, written down.
    fn number_tenants(&self) -> Result<Tenants, RunError> {
        let tables = self.dataplane.tables();
        let is_held = |id| {
            let account = tables.account(Holder::Tenant(id));
            account.flows != 0 || account.half_open != 0 || account.ports != 0
        };
        let tenants = self.tenants.numbered(&self.config, is_held)?;
        if self.store.tenants()? != tenants {
            self.store.save_tenants(&tenants)?;
        }
        Ok(tenants)
    }

    /// Brings slots' devices up, now that their programs are on them: so a sandbox's first frame meets one. One that
    /// stays down is tried again; the others, and ENIs, don't wait for it.
    async fn bring_up(&mut self, resolved: &Resolved) {
        for device in resolved.down() {
            if let Err(error) = self.host.bring_up(device).await {
                self.unsettled = true;
                warn!("device {device} of a slot stays down, trying again later: {error}");
            }
        }
    }
}

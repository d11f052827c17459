// The entry of every page for people who are signed in.
import { startAlertPage } from "./alert-page.js";
import { startAlertList } from "./alert-list.js";
import { startKeys } from "./keys.js";
import { startOpenParts } from "./open-parts.js";
import { startFailures } from "./failures.js";
import { startScrollers } from "./scrollers.js";
import { startThemeButton } from "./theme-button.js";
import { startTimes } from "./times.js";

startThemeButton();
startTimes();
startFailures();
startKeys();
startOpenParts();
startScrollers();

const page = document.body.dataset.page;
if (page === "alerts") startAlertList();
if (page === "alert") startAlertPage();
